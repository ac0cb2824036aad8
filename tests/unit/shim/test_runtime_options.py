"""Runtime options, however containerd sends them."""

from __future__ import annotations

import os
import typing
from typing import TYPE_CHECKING

import pytest

from runwasi.executor.errors import Invalid
from runwasi.shim.services.calls.runtime_options import runtime_options, shim_cgroup
from runwasi.wire.messages import runtime_options as generic
from runwasi.wire.messages.older_options import CreateOptions
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


def test_the_message_of_older_clients_is_read() -> None:
    members: dict[str, typing.Any] = {
        "no_pivot_root": True,
        "no_new_keyring": True,
        "shim_cgroup": "/shims",
        "io_uid": 7,
        "io_gid": 8,
        "criu_work_path": "/work",
        "criu_image_path": "/image",
    }
    sent = CreateOptions(**members)
    packed = Any(type_url="type.googleapis.com/containerd.linux.runc.CreateOptions", value=sent.encode())
    assert runtime_options(packed) == Options(**members)


@pytest.mark.parametrize(
    "packed",
    [
        Any(type_url=Options.NAME, value=Options(shim_cgroup="/shims").encode()),
        Any(type_url=CreateOptions.NAME, value=CreateOptions(shim_cgroup="/shims").encode()),
        in_toml('shim_cgroup = "/shims"'),
        in_toml('ShimCgroup = "/shims"'),
    ],
)
def test_the_cgroup_of_shims_is_read_from_every_message(packed: Any) -> None:
    assert shim_cgroup(packed) == "/shims"
    assert runtime_options(packed).shim_cgroup == "/shims"


@pytest.mark.parametrize(
    "packed",
    [
        Any(type_url=Options.NAME, value=Options(io_uid=3).encode()),
        in_toml("SystemdCgroup = true"),
        Any(type_url="some.other.Options", value=b"/shims"),
        Any(),
    ],
)
def test_most_options_say_nothing_of_a_cgroup_of_shims(packed: Any) -> None:
    assert shim_cgroup(packed) == ""


def test_toml_uses_the_names_of_containerds_configuration() -> None:
    options = runtime_options(in_toml('SystemdCgroup = true\nIoUid = 3\nBinaryName = "crun"\nOther = 1\n'))
    assert options == Options(systemd_cgroup=True, io_uid=3, binary_name="crun")


def test_a_file_of_options_that_is_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    packed = Any(
        type_url=generic.Options.NAME, value=generic.Options(config_path=str(tmp_path / "fifo")).encode()
    )
    with pytest.raises(Invalid, match="not a regular file"):
        runtime_options(packed)


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
        (
            Any(type_url=generic.Options.NAME, value=generic.Options(config_path="/dev/zero").encode()),
            "/dev/zero: not a regular file",
        ),
        (
            Any(type_url=generic.Options.NAME, value=generic.Options(config_path="/bin/busybox").encode()),
            "/bin/busybox: larger than 64 KiB",
        ),
    ],
)
def test_wrong_options_are_refused_by_name(packed: Any, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        runtime_options(packed)


def test_a_zero_byte_is_refused() -> None:
    for packed in (
        Any(type_url=Options.NAME, value=Options(root="/a\0b").encode()),
        in_toml('Root = "/a\\u0000b"'),
        Any(type_url=generic.Options.NAME, value=generic.Options(config_path="/a\0b").encode()),
    ):
        with pytest.raises(Invalid, match="contains a zero byte"):
            runtime_options(packed)
