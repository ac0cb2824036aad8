"""HOME where nobody sets it: from the container's /etc/passwd, which may be anything."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools.bundle import Bundle
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

_LINE = b"root:x:0:0::/found:/bin/sh\n"
_SECONDS = 20


@pytest.fixture
def asking(bundle: BundleMaker) -> Bundle:
    """A bundle whose program prints its HOME."""
    return bundle(["sh", "-c", "echo $HOME"])


def _file(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _link(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def _zero(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a device that never ends": _zero,
    "a link to one": _link("/dev/zero"),
    "a folder": Path.mkdir,
    "a file without an end to its line": _sparse,
    "a link that leads nowhere": _link("nowhere"),
    "a link in a circle": _link("passwd"),
    "a link to the runtime's own memory": _link("/proc/self/mem"),
    "a link to the runtime's own program": _link("/proc/self/exe"),
    "a line of too few fields": _file(b"root:x:0\n"),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_passwd_that_is_none_is_not_waited_for(
    runwasi: Runtime, asking: Bundle, container_id: str, make: Callable[[Path], object]
) -> None:
    make(asking.rootfs / "etc/passwd")
    done = runwasi("run", "--bundle", asking.path, container_id, timeout=_SECONDS)
    assert done.stdout == "/\n"


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_passwd_that_the_container_replaced_does_not_stop_exec(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, make: Callable[[Path], object]
) -> None:
    container = Detached(runwasi, bundle(["sleep", "1000"]), container_id)
    container.run()
    make(container.bundle.rootfs / "etc/passwd")
    done = runwasi("exec", container_id, "sh", "-c", "echo $HOME", timeout=_SECONDS)
    assert done.stdout == "/\n"


@pytest.mark.parametrize("target", ["real", "/etc/real", "../etc/real"])
def test_a_link_inside_the_root_is_followed(
    oci_runtime: Runtime, asking: Bundle, container_id: str, target: str
) -> None:
    (asking.rootfs / "etc/real").write_bytes(b"someone:x:1:1::/other:/bin/sh\n" + _LINE)
    (asking.rootfs / "etc/passwd").symlink_to(target)
    assert oci_runtime("run", "--bundle", asking.path, container_id).stdout == "/found\n"


def test_a_long_one_is_read_to_where_no_list_of_users_reaches(
    runwasi: Runtime, asking: Bundle, container_id: str
) -> None:
    padding = b"someone:x:1:1::/other:/bin/sh\n"
    passwd = asking.rootfs / "etc/passwd"
    passwd.write_bytes(padding * ((2 << 20) // len(padding)) + _LINE)
    assert runwasi("run", "--bundle", asking.path, container_id).stdout == "/found\n"
    passwd.write_bytes(padding * ((9 << 20) // len(padding)) + _LINE)
    assert runwasi("run", "--bundle", asking.path, container_id).stdout == "/\n"


def test_a_home_that_the_configuration_names_counts(
    oci_runtime: Runtime, asking: Bundle, container_id: str
) -> None:
    (asking.rootfs / "etc/passwd").write_bytes(_LINE)
    asking.process["env"] = ["PATH=/bin", "HOME=/named"]
    asking.write()
    assert oci_runtime("run", "--bundle", asking.path, container_id).stdout == "/named\n"
