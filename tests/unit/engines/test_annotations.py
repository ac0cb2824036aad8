from __future__ import annotations

import re

import pytest

from devtools.places import ROOT
from runwasi.engines import annotation_names
from runwasi.engines.annotation_names import is_unsafe
from runwasi.engines.annotations import OURS, BadAnnotation, Switch, check

PAGE = ROOT / "docs" / "annotations.md"


def rows() -> list[tuple[str, ...]]:
    """The first four cells of each row of the page whose first is one of our names."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `io.runwasi.")]
    return [tuple(cell.strip() for cell in line.split("|")[1:5]) for line in lines]


def test_the_page_has_every_annotation_as_the_code_has_it() -> None:
    expected = [
        (f"`{item.name}`", item.values, item.default, "unsafe" if is_unsafe(item.name) else "safe")
        for item in OURS.values()
    ]
    assert rows() == expected


def test_the_page_names_every_word_of_others() -> None:
    text = PAGE.read_text()
    others = (
        annotation_names.HANDLER,
        annotation_names.VARIANT,
        annotation_names.KEEP_GROUPS,
        annotation_names.CRIU_CONFIG,
        annotation_names.SYSTEMD_PROPERTY,
    )
    for name in others:
        assert f"`{name}" in text
    for name in annotation_names.HARMLESS_PROPERTIES:
        assert f"`{name.removeprefix(annotation_names.SYSTEMD_PROPERTY)}`" in text


def test_no_name_of_ours_is_written_anywhere_else() -> None:
    no_containers = {"io.runwasi.version", "io.runwasi.checkpoint.enabled", "io.runwasi.layers"}
    written = {
        (path.name, name)
        for path in (ROOT / "runwasi").rglob("*.py")
        if path.name not in ("annotations.py", "annotation_names.py", "manual.py")
        for name in re.findall(r'"(io\.runwasi\.[a-z.\-]+)"', path.read_text())
        if name not in no_containers
    }
    assert not written


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("io.runwasi.memory.maximum", "did you mean io.runwasi.memory.max?"),
        ("io.runwasi.timeouts", "did you mean io.runwasi.timeout?"),
        ("io.runwasi.unsafe.secomp", "did you mean io.runwasi.unsafe.seccomp?"),
        ("io.runwasi.", "there is no such annotation"),
        ("io.runwasi.capabilities", "is now called io.runwasi.unsafe.capabilities"),
        ("io.runwasi.seccomp", "is now called io.runwasi.unsafe.seccomp"),
    ],
)
def test_an_unknown_name_is_refused_with_the_one_that_was_meant(name: str, advice: str) -> None:
    with pytest.raises(BadAnnotation, match=re.escape(f'$.annotations["{name}"]: ') + f".*{advice}"):
        check({name: "1"})


def test_names_of_others_are_not_looked_at() -> None:
    check(
        {
            "io.runwasi": "",
            "io.runwasix.fuel": "",
            "io.kubernetes.cri.sandbox-id": "x",
            "run.oci.handler": "?",
        }
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("io.runwasi.network", "no"),
        ("io.runwasi.network", ""),
        ("io.runwasi.memory.trap", "Off"),
        ("io.runwasi.http.access-log", "true"),
        ("io.runwasi.http.workers", "0"),
        ("io.runwasi.http.workers", "1025"),
        ("io.runwasi.http.workers", "two"),
        ("io.runwasi.layer", ""),
        ("io.runwasi.unsafe.capabilities", "all"),
        ("io.runwasi.unsafe.seccomp", ""),
        ("io.runwasi.preopens", "/a=/b\0"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadAnnotation, match=re.escape(f'$.annotations["{name}"]: ')):
        check({name: value})


def test_an_error_stays_on_one_line() -> None:
    with pytest.raises(BadAnnotation) as raised:
        check({'io.runwasi.a"\nlevel=error': "1"})
    assert str(raised.value).startswith('$.annotations["io.runwasi.a\\"\\nlevel=error"]: there is no')
    assert "\n" not in str(raised.value)


def test_absent_annotations_have_their_defaults() -> None:
    switches = {item.name: item.of({}) for item in OURS.values() if isinstance(item, Switch)}
    assert switches == {
        "io.runwasi.memory.trap": True,
        "io.runwasi.network": True,
        "io.runwasi.http.access-log": False,
    }


@pytest.mark.parametrize(
    ("name", "unsafe"),
    [
        ("io.runwasi.fuel", False),
        ("io.runwasi.unsafe.seccomp", True),
        ("org.criu.config", True),
        ("org.systemd.property.MemoryMax", True),
        ("org.systemd.property.KillSignal", False),  # Podman 5 sets this and the next for every container
        ("org.systemd.property.TimeoutStopUSec", False),
        ("run.oci.handler", False),
        ("io.kubernetes.cri.sandbox-id", False),
    ],
)
def test_annotations_that_reduce_confinement_are_unsafe(name: str, unsafe: bool) -> None:
    assert is_unsafe(name) is unsafe
