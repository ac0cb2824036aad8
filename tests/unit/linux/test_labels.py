"""Labels of security modules: this machine has neither module, so a file stands in for what procfs would be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import EINVAL, ENOTSUP, EPERM
from pathlib import Path

import pytest

from runwasi.linux import labels
from runwasi.linux.filesystems import PROC_SUPER_MAGIC

CONTEXT = "system_u:system_r:container_t:s0:c1,c2"


class FakeProc:
    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "thread-self/attr/apparmor").mkdir(parents=True)
        (path / "filesystems").write_text("nodev\tproc\nnodev\tselinuxfs\n")
        for name in ("apparmor/exec", "apparmor/current", "exec", "current", "keycreate"):
            (path / "thread-self/attr" / name).touch()
        self.fd = os.open(path, os.O_PATH)

    def attribute(self, name: str) -> Path:
        return self.path / "thread-self/attr" / name


@pytest.fixture
def proc(tmp_path: Path) -> Iterator[FakeProc]:
    fake = FakeProc(tmp_path)
    yield fake
    os.close(fake.fd)


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the stand-in for a procfs."""
    monkeypatch.setattr(labels, "filesystem_type", lambda _: PROC_SUPER_MAGIC)


def test_a_fake_procfs_is_not_written_to(proc: FakeProc) -> None:
    with pytest.raises(PermissionError) as refusal:
        labels.set_apparmor_exec(proc.fd, "profile")
    assert refusal.value.errno == EPERM
    with pytest.raises(PermissionError):
        labels.set_selinux_exec(proc.fd, CONTEXT)
    assert proc.attribute("apparmor/exec").read_text() == ""
    assert proc.attribute("exec").read_text() == ""


def test_a_link_in_place_of_an_attribute_is_not_followed(
    proc: FakeProc, tmp_path: Path, trusted: None
) -> None:
    proc.attribute("exec").unlink()
    proc.attribute("exec").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        labels.set_selinux_exec(proc.fd, CONTEXT)


def test_apparmor_is_told_in_its_words(proc: FakeProc, trusted: None) -> None:
    labels.set_apparmor_exec(proc.fd, "docker-default")
    assert proc.attribute("apparmor/exec").read_text() == "exec docker-default"


def test_an_older_kernel_has_apparmor_in_the_shared_attribute(proc: FakeProc, trusted: None) -> None:
    proc.attribute("apparmor/exec").unlink()
    labels.set_apparmor_exec(proc.fd, "docker-default")
    assert proc.attribute("exec").read_text() == "exec docker-default"


def test_selinux_is_told_of_processes_and_keys(proc: FakeProc, trusted: None) -> None:
    labels.set_selinux_exec(proc.fd, CONTEXT)
    labels.set_selinux_keycreate(proc.fd, CONTEXT)
    assert proc.attribute("exec").read_text() == CONTEXT
    assert proc.attribute("keycreate").read_text() == CONTEXT


def test_a_process_that_executes_nothing_changes_its_own_labels(proc: FakeProc, trusted: None) -> None:
    labels.change_apparmor(proc.fd, "container-default")
    labels.change_selinux(proc.fd, CONTEXT)
    assert proc.attribute("apparmor/current").read_text() == "changeprofile container-default"
    assert proc.attribute("current").read_text() == CONTEXT
    assert proc.attribute("exec").read_text() == ""


def test_selinux_that_is_off_is_said_so(proc: FakeProc, trusted: None) -> None:
    (proc.path / "filesystems").write_text("nodev\tproc\n")
    with pytest.raises(OSError, match="SELinux is not enabled") as refusal:
        labels.set_selinux_exec(proc.fd, CONTEXT)
    assert refusal.value.errno == ENOTSUP


def test_a_kernel_without_apparmor_is_said_so(
    proc: FakeProc, trusted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(EINVAL, os.strerror(EINVAL))

    # What a kernel whose modules implement no attribute answers to any write and read.
    monkeypatch.setattr("runwasi.linux.labels.os.write", refuse)
    monkeypatch.setattr("runwasi.linux.labels.os.pread", refuse)
    with pytest.raises(OSError, match="the kernel has no AppArmor") as refusal:
        labels.set_apparmor_exec(proc.fd, "docker-default")
    assert refusal.value.errno == ENOTSUP
    labels.set_apparmor_exec(proc.fd, labels.UNCONFINED)  # as it is anyway
