"""Options of a Checkpoint call, in each of the messages that clients send."""

from __future__ import annotations

import pytest

from runwasi.executor.errors import Invalid
from runwasi.shim.services.calls.checkpoint_call import options_of
from runwasi.wire.messages import older_options, options
from runwasi.wire.messages.task import CheckpointTaskRequest
from runwasi.wire.messages.well_known import Any


def request(message: options.CheckpointOptions | older_options.CheckpointOptions) -> CheckpointTaskRequest:
    return CheckpointTaskRequest(path="/image", options=Any(type_url=message.NAME, value=message.encode()))


@pytest.mark.parametrize("kind", [options.CheckpointOptions, older_options.CheckpointOptions])
def test_clients_of_every_release_are_understood(
    kind: type[options.CheckpointOptions | older_options.CheckpointOptions],
) -> None:
    sent = kind(exit=True, open_tcp=True, terminal=True, cgroups_mode="soft", work_path="/work")
    asked = options_of(request(sent), "/bundle")
    assert (asked.image_path, asked.work_path) == ("/image", "/work")
    assert (asked.leave_running, asked.tcp_established, asked.shell_job) == (False, True, True)
    assert (asked.file_locks, asked.ext_unix_sk, asked.cgroups_mode) == (False, False, "soft")


def test_without_options_crius_logs_go_into_the_bundle() -> None:
    for packed in (None, Any()):
        asked = options_of(CheckpointTaskRequest(path="/image", options=packed), "/bundle")
        assert (asked.work_path, asked.leave_running) == ("/bundle/criu-work", True)


def test_options_of_another_type_are_refused_by_name() -> None:
    packed = Any(type_url="some.other.Options", value=b"x")
    with pytest.raises(Invalid, match=r"options of type some\.other\.Options are not understood"):
        options_of(CheckpointTaskRequest(options=packed), "/bundle")


@pytest.mark.parametrize("path", ["", ".", "image"])
def test_a_path_that_is_not_absolute_is_refused(path: str) -> None:
    # It would be in whatever folder the server has, or in the host's root.
    with pytest.raises(Invalid, match=f"path '{path}' is not an absolute path"):
        options_of(CheckpointTaskRequest(path=path), "/bundle")
    if path:
        packed = Any(
            type_url=options.CheckpointOptions.NAME, value=options.CheckpointOptions(work_path=path).encode()
        )
        with pytest.raises(Invalid, match=f"work_path '{path}' is not an absolute path"):
            options_of(CheckpointTaskRequest(path="/image", options=packed), "/bundle")
