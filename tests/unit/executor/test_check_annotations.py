from __future__ import annotations

import re
from pathlib import Path

import pytest

from runwasi.executor.errors import ContainerError
from runwasi.executor.plan.check_annotations import check_annotations, check_unsafe
from runwasi.node.configuration import OVERRIDE
from runwasi.oci.decode import SpecError

SECCOMP = {"io.runwasi.unsafe.seccomp": "unconfined"}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv(OVERRIDE, str(path))
    return path


def test_safe_annotations_need_nobody(file: Path) -> None:
    file.write_text("not even TOML")
    check_annotations({"io.runwasi.fuel": "5", "io.kubernetes.cri.container-name": "c"})


def test_an_unsafe_annotation_is_refused_with_what_would_allow_it(file: Path) -> None:
    with pytest.raises(SpecError) as raised:
        check_annotations(SECCOMP)
    assert str(raised.value) == (
        '$.annotations["io.runwasi.unsafe.seccomp"]: is unsafe, and this node does not allow it; to allow it, '
        f'its operator writes unsafe_annotations = ["io.runwasi.unsafe.seccomp"] into {file}'
    )


def test_the_suggested_setting_keeps_the_annotations_allowed_already(file: Path) -> None:
    file.write_text('unsafe_annotations = ["io.runwasi.unsafe.capabilities"]')
    both = 'unsafe_annotations = ["io.runwasi.unsafe.capabilities", "io.runwasi.unsafe.seccomp"]'
    with pytest.raises(SpecError, match=re.escape(both)):
        check_unsafe(SECCOMP)


def test_it_is_believed_where_the_node_allows_that_very_name(file: Path) -> None:
    file.write_text('unsafe_annotations = ["io.runwasi.unsafe.seccomp"]')
    check_annotations(SECCOMP)


def test_permission_does_not_excuse_a_value_without_sense(file: Path) -> None:
    file.write_text('unsafe_annotations = ["io.runwasi.unsafe.seccomp"]')
    with pytest.raises(SpecError, match=r"'off' is not unconfined"):
        check_annotations({"io.runwasi.unsafe.seccomp": "off"})


def test_a_configuration_that_allows_an_unknown_annotation_is_refused(file: Path) -> None:
    file.write_text('unsafe_annotations = ["io.runwasi.unsafe.*"]')
    check_annotations({})
    file.write_text('unsafe_annotations = ["io.runwasi.fuel"]')
    with pytest.raises(
        ContainerError, match=r"unsafe_annotations: io.runwasi.fuel is not an unsafe annotation"
    ):
        check_annotations(SECCOMP)


def test_a_configuration_that_others_can_write_allows_nothing(file: Path) -> None:
    file.write_text('unsafe_annotations = ["io.runwasi.unsafe.seccomp"]')
    file.chmod(0o666)
    with pytest.raises(ContainerError, match="not trusted"):
        check_annotations(SECCOMP)


@pytest.mark.parametrize("name", ["org.criu.config", "org.systemd.property.MemoryMax"])
def test_dangerous_words_of_other_runtimes_need_permission_too(file: Path, name: str) -> None:
    with pytest.raises(SpecError, match="is unsafe"):
        check_annotations({name: "x"})
    file.write_text(f'unsafe_annotations = ["{name}"]')
    check_annotations({name: "x"})
