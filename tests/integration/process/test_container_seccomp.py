"""Seccomp profiles of whole containers, ours and runc's alike."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runwasi.oci.encode import to_json
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime
from tests.support.seccomp import docker_like, number_of

pytestmark = pytest.mark.cgroup_v2

# linux/seccomp.h: _IOWR('!', 0, struct seccomp_notif) and _IOWR('!', 1, struct seccomp_notif_resp)
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101


def allow_all_but(*names: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    rule = {"names": list(names), "action": action}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{**rule, **more.pop("rule", {})}], **more}


def test_a_refused_call_fails_in_the_container(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sh", "-c", "mkdir /one; echo $?; touch /two && echo fine"])
    made.linux["seccomp"] = allow_all_but("mkdir", "mkdirat")
    done = oci_runtime("run", "--bundle", made.write().path, container_id)
    assert done.stdout == "1\nfine\n"
    assert "Operation not permitted" in done.stderr


@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY"])
def test_a_rule_for_no_call_matches_nothing(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, action: str
) -> None:
    made = bundle(["mkdir", "/one"])
    made.linux["seccomp"] = allow_all_but(action=action)
    oci_runtime("run", "--bundle", made.write().path, container_id)


def test_a_filter_holds_without_no_new_privileges_too(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sh", "-c", "mkdir /one"])
    made.process["noNewPrivileges"] = False
    made.linux["seccomp"] = allow_all_but("mkdir", "mkdirat", rule={"errnoRet": errno.EXDEV})
    done = oci_runtime("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 1
    assert "Invalid cross-device link" in done.stderr


def test_a_forbidden_call_kills_the_container(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["mkdir", "/one"])
    made.linux["seccomp"] = allow_all_but("mkdir", "mkdirat", action="SCMP_ACT_KILL_PROCESS")
    assert oci_runtime("run", "--bundle", made.write().path, container_id, check=False).returncode == 128 + 31


def test_ordinary_programs_run_under_a_profile_like_dockers(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    script = "ls / >/dev/null && (echo a; echo b) | sort | tail -1; mount -t tmpfs x /tmp"
    made = bundle(["sh", "-c", script])
    made.linux["seccomp"] = to_json(docker_like())
    done = oci_runtime("run", "--bundle", made.write().path, container_id, check=False)
    assert done.stdout == "b\n"
    assert done.returncode != 0


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_an_agent_answers_for_the_kernel(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, folder: Path, no_new_privileges: bool
) -> None:
    made = bundle(["sh", "-c", "mkdir /one; echo done"])
    made.process["noNewPrivileges"] = no_new_privileges
    made.linux["seccomp"] = allow_all_but(
        "mkdir",
        "mkdirat",
        action="SCMP_ACT_NOTIFY",
        listenerPath=f"{folder}/agent",
        listenerMetadata="of this test",
    )
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(f"{folder}/agent")
        agent.listen()
        agent.settimeout(20)
        command = oci_runtime.command("run", "--bundle", made.write().path, container_id)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1, text=True) as running:
            told, listener = receive(agent)
            number = refuse_one(listener, errno.ENOTEMPTY)
            output, errors = running.communicate(timeout=20)
            os.close(listener)
    assert number in (number_of("mkdir"), number_of("mkdirat"))  # arm64 has only the latter
    assert output == "done\n"
    assert "Directory not empty" in errors
    assert (told["metadata"], told["state"]["id"], told["fds"]) == (
        "of this test",
        container_id,
        ["seccompFd"],
    )
    assert told["pid"] == told["state"]["pid"] > 0
    assert told["state"]["status"] in ("creating", "created")


def receive(agent: socket.socket) -> tuple[dict[str, Any], int]:
    connection, _ = agent.accept()
    with connection:
        data, fds, _, _ = socket.recv_fds(connection, 65536, 1)
    told: dict[str, Any] = json.loads(data)
    return told, fds[0]


def refuse_one(listener: int, error: int) -> int:
    """Answer the next notification with an errno; return the system call's number."""
    notification = bytearray(80)
    fcntl.ioctl(listener, NOTIF_RECV, notification)
    identity, _, _, number = struct.unpack_from("QIIi", notification)
    fcntl.ioctl(listener, NOTIF_SEND, struct.pack("QqiI", identity, 0, -error, 0))
    return int(number)


def test_an_exec_is_under_the_containers_filter(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    made.linux["seccomp"] = allow_all_but("mkdir", "mkdirat")
    command = runwasi.command("run", "--detach", "--bundle", made.write().path, container_id)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    done = runwasi("exec", container_id, "mkdir", "/one", check=False)
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    runwasi("delete", "--force", container_id)


def test_an_agent_that_is_not_there_fails_the_start_by_name(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    made = bundle(["true"])
    made.linux["seccomp"] = allow_all_but("mkdir", action="SCMP_ACT_NOTIFY", listenerPath=f"{folder}/nobody")
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 1
    assert "$.linux.seccomp.listenerPath" in done.stderr
    assert runwasi("list", "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("flags", "passed"),
    [
        ({}, 4),
        ({"flags": []}, 0),
        ({"flags": ["SECCOMP_FILTER_FLAG_LOG"]}, 2),
        ({"flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}, 4),
        ({"flags": ["SECCOMP_FILTER_FLAG_TSYNC"]}, 0),
    ],
    ids=["absent", "none", "log", "spec_allow", "tsync"],
)
def test_only_absent_flags_are_left_to_the_runtime(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, flags: dict[str, Any], passed: int
) -> None:
    made = bundle(["true"])
    made.linux["seccomp"] = allow_all_but("mkdir") | flags
    done = runwasi("run", "--bundle", made.write().path, container_id, options=("--debug",))
    assert f"seccomp filter flags: {passed}" in done.stderr


@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_filter_that_forbids_all_is_named_by_run(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, action: str, no_new_privileges: bool
) -> None:
    made = bundle(["true"])
    made.process["noNewPrivileges"] = no_new_privileges
    made.linux["seccomp"] = {"defaultAction": action}
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.returncode == 1
    assert "; $.linux.seccomp may forbid what it needs" in done.stderr


def test_a_filter_that_kills_a_process_of_exec_on_its_way_is_named(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    made.process["noNewPrivileges"] = True
    made.linux["seccomp"] = allow_all_but("capset", action="SCMP_ACT_KILL_PROCESS")
    Detached(runwasi, made.write(), container_id).run()
    refused = runwasi("exec", "--no-new-privs=false", container_id, "true", check=False)
    assert refused.returncode == 255
    assert "its process ended before its program ran; $.linux.seccomp may forbid" in refused.stderr
