"""Runtime options, however containerd sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runwasi.executor.errors import Invalid
from runwasi.shim.services.runtime_options import runtime_options
from runwasi.wire.messages import runtime_options as generic
from runwasi.wire.messages.options import Options
from runwasi.wire.messages.well_known import Any

if TYPE_CHECKING:
    from pathlib import Path


def in_toml(text: str) -> Any:
    options = generic.Options(config_body=text.encode())
    return Any(type_url="runtimeoptions.v1.Options", value=options.encode())


def test_no_options_are_the_defaults() -> None:
    assert runtime_options(None) == Options()
    assert runtime_options(Any()) == Options()


def test_runcs_own_message_is_read() -> None:
    sent = Options(systemd_cgroup=True, io_uid=7, root="/run/elsewhere")
    packed = Any(type_url="containerd.runc.v1.Options", value=sent.encode())
    assert runtime_options(packed) == sent


def test_toml_uses_the_names_of_containerds_configuration() -> None:
    options = runtime_options(in_toml('SystemdCgroup = true\nIoUid = 3\nBinaryName = "crun"\nOther = 1\n'))
    assert options == Options(systemd_cgroup=True, io_uid=3, binary_name="crun")


def test_a_file_of_options_is_read(tmp_path: Path) -> None:
    file = tmp_path / "options.toml"
    file.write_text("NoPivotRoot = true\n")
    options = generic.Options(config_path=str(file))
    packed = Any(type_url="runtimeoptions.v1.Options", value=options.encode())
    assert runtime_options(packed).no_pivot_root


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (Any(type_url="some.other.Options", value=b"x"), "some.other.Options are not understood"),
        (in_toml("SystemdCgroup = "), "not TOML"),
        (in_toml('SystemdCgroup = "yes"'), "SystemdCgroup is 'yes'"),
        (
            Any(
                type_url="runtimeoptions.v1.Options",
                value=generic.Options(config_path="/no/such/file").encode(),
            ),
            "/no/such/file: No such file",
        ),
    ],
)
def test_wrong_options_are_refused_by_name(packed: Any, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        runtime_options(packed)
