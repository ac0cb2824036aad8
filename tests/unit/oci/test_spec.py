"""The rules of config.json that are not about one member's type."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from runwasi.oci import spec
from runwasi.oci.decode import SpecError
from runwasi.oci.process import load_process
from tests.unit.oci.full_config import full_config

if TYPE_CHECKING:
    from pathlib import Path


def load(document: object) -> spec.Spec:
    return spec.loads(json.dumps(document).encode())


def minimal(**members: Any) -> dict[str, Any]:
    return {"ociVersion": "1.0.0", "root": {"path": "rootfs"}, **members}


def process(**members: Any) -> dict[str, Any]:
    return minimal(process={"cwd": "/", "args": ["true"], **members})


def linux(*namespaces: str, **members: Any) -> dict[str, Any]:
    return minimal(linux={"namespaces": [{"type": kind} for kind in namespaces], **members})


def error_of(document: object) -> str:
    with pytest.raises(SpecError) as caught:
        load(document)
    return str(caught.value)


def test_absent_members_have_their_documented_values() -> None:
    loaded = load(minimal())
    assert loaded.process is None
    assert loaded.mounts == ()
    assert loaded.annotations == {}
    assert loaded.hooks.prestart == ()
    assert loaded.root.readonly is False
    assert loaded.linux.resources is None
    assert loaded.linux.namespaces == ()


def test_members_have_the_specifications_names_in_snake_case() -> None:
    loaded = load(full_config())
    assert loaded.process is not None
    assert loaded.process.user.additional_gids == (3, 4)
    assert loaded.process.io_priority is not None
    assert loaded.process.io_priority.class_ == "IOPRIO_CLASS_BE"
    assert loaded.process.exec_cpu_affinity is not None
    assert loaded.linux.resources is not None
    assert loaded.linux.resources.block_io is not None
    assert loaded.linux.resources.block_io.throttle_read_iops_device[0].rate == 1024
    assert loaded.linux.resources.memory is not None
    assert loaded.linux.resources.memory.kernel_tcp == 1
    assert loaded.linux.uid_mappings[0].host_id == 100000
    assert loaded.hooks.create_runtime[0].timeout == 5


def test_unknown_members_are_ignored() -> None:
    document = full_config()
    document["future"] = {"deep": [1, {"er": None}]}
    document["windows"] = {"layerFolders": 7}
    document["process"]["user"]["shell"] = 0.5
    assert load(document) == load(full_config())


def test_names_are_known_in_any_case() -> None:
    limits = [{"pagesize": "2MB", "LIMIT": 4096}]
    loaded = load(minimal(Linux={"Resources": {"hugepagelimits": limits}}))
    assert loaded.linux.resources is not None
    (limit,) = loaded.linux.resources.hugepage_limits
    assert (limit.page_size, limit.limit) == ("2MB", 4096)


def test_of_one_name_in_two_cases_the_last_counts() -> None:
    assert load({**linux("uts"), "hostname": "first", "hostName": "last"}).hostname == "last"


def test_null_is_the_same_as_absent() -> None:
    assert load(minimal(process=None, mounts=None, linux=None, annotations=None)) == load(minimal())


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0-rc.1", "1.3.0+dev", "1.99.0"])
def test_every_version_one_is_accepted(version: str) -> None:
    assert load(minimal(ociVersion=version)).oci_version == version


@pytest.mark.parametrize("version", ["", "1", "1.0", "v1.0.0", "01.0.0", "2.0.0", "0.9.0", "1.0.0.0", "1.x"])
def test_other_versions_are_refused(version: str) -> None:
    assert error_of(minimal(ociVersion=version)).startswith("$.ociVersion: ")


@pytest.mark.parametrize("path", ["..", "../other", "a/../..", "./../x", "a/b/../../../c"])
def test_a_relative_root_may_not_leave_the_bundle(path: str) -> None:
    assert error_of(minimal(root={"path": path})).startswith("$.root.path: must not leave the bundle")


@pytest.mark.parametrize("path", ["rootfs", "a/../b", "./rootfs", "/anywhere/../else", "."])
def test_other_roots_are_accepted(path: str) -> None:
    assert load(minimal(root={"path": path})).root.path == path


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (minimal(root={"path": ""}), "$.root.path: must not be empty"),
        (process(args=[]), "$.process.args: must name a program"),
        (process(args=[""]), "$.process.args[0]: must not be empty"),
        (process(cwd="tmp"), '$.process.cwd: must be an absolute path, not "tmp"'),
        (process(env=["A=1", "B"]), '$.process.env[1]: must be NAME=VALUE, not "B"'),
        (process(env=["=1"]), '$.process.env[0]: must be NAME=VALUE, not "=1"'),
        (
            process(rlimits=[{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2),
            "$.process.rlimits[1].type: RLIMIT_CPU is given twice",
        ),
        (
            process(rlimits=[{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]),
            "$.process.rlimits[0].soft: must not be above the hard limit 1",
        ),
        (process(scheduler={"policy": "SCHED_OTHER", "nice": 20}), "$.process.scheduler.nice: "),
        (process(scheduler={"policy": "SCHED_RR"}), "$.process.scheduler.priority: "),
        (process(scheduler={"policy": "SCHED_OTHER", "priority": 1}), "$.process.scheduler.priority: "),
        (process(scheduler={"policy": "SCHED_OTHER", "runtime": 1}), "$.process.scheduler.runtime: "),
        (process(execCPUAffinity={"initial": "1-x"}), "$.process.execCPUAffinity.initial: "),
        (process(execCPUAffinity={"final": "3-1"}), "$.process.execCPUAffinity.final: "),
        (minimal(mounts=[{"destination": ""}]), "$.mounts[0].destination: "),
        (
            minimal(
                mounts=[{"destination": "/a", "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}]
            ),
            "$.mounts[0].gidMappings: is required",
        ),
        (minimal(hooks={"prestart": [{"path": "hook"}]}), "$.hooks.prestart[0].path: must be an absolute"),
        (minimal(hooks={"poststop": [{"path": "/h", "timeout": 0}]}), "$.hooks.poststop[0].timeout: "),
        (minimal(annotations={"": "x"}), "$.annotations: has an empty key"),
        (minimal(hostname="box"), "$.hostname: needs a uts namespace"),
        ({**linux("uts"), "hostname": "b" * 65}, "$.hostname: must not be longer than 64 bytes"),
        (
            {**linux("uts", sysctl={"kernel.domainname": "other"}), "domainname": "one"},
            '$.linux.sysctl["kernel.domainname"]: contradicts $.domainname',
        ),
        ({**linux("uts"), "domainname": "é" * 33}, "$.domainname: must not be longer than 64 bytes"),
        (linux("pid", "uts", "pid"), "$.linux.namespaces[2].type: pid is given twice"),
        (linux("pidx"), '$.linux.namespaces[0].type: "pidx" is not one of mount, pid, network'),
        (
            minimal(linux={"namespaces": [{"type": "pid", "path": "x"}]}),
            '$.linux.namespaces[0].path: must be an absolute path, not "x"',
        ),
        (linux(cgroupsPath="/a/../../b"), "$.linux.cgroupsPath: must not contain .."),
        (linux("user"), "$.linux.uidMappings: is required for a new user namespace"),
        (
            linux(uidMappings=[{"containerID": 0, "hostID": 1, "size": 1}]),
            "$.linux.uidMappings: needs a user namespace",
        ),
        (
            linux("user", uidMappings=[{"containerID": 0, "hostID": 4294967290, "size": 20}]),
            "$.linux.uidMappings[0].size: 20 goes beyond the last id",
        ),
        (
            linux(
                "user",
                uidMappings=[
                    {"containerID": 0, "hostID": 1000, "size": 10},
                    {"containerID": 9, "hostID": 5000, "size": 10},
                ],
            ),
            "$.linux.uidMappings[1].containerID: overlaps an earlier range",
        ),
        (linux(devices=[{"type": "c", "path": "/d", "major": 1}]), "$.linux.devices[0].minor: is required"),
        (
            linux(devices=[{"type": "c", "path": "/d", "major": -1, "minor": 0}]),
            "$.linux.devices[0].major: must be between 0 and 4095, not -1",
        ),
        (
            linux(devices=[{"type": "b", "path": "/d", "major": 4095, "minor": 1 << 40}]),
            "$.linux.devices[0].minor: must be between 0 and 1048575, not 1099511627776",
        ),
        (
            linux(resources={"devices": [{"allow": True, "type": "c", "major": 1 << 31}]}),
            "$.linux.resources.devices[0].major: must be between -1 and 2147483647",
        ),
        (
            linux(resources={"devices": [{"allow": True, "type": "c", "minor": -2}]}),
            "$.linux.resources.devices[0].minor: must be between -1 and 2147483647",
        ),
        (linux(devices=[{"type": "c", "path": "d"}]), "$.linux.devices[0].path: must be an absolute path"),
        (linux(netDevices={"eth0": {}}), "$.linux.netDevices: needs a network namespace"),
        (linux("network", netDevices={"a/b": {}}), '$.linux.netDevices["a/b"]: '),
        (linux("network", netDevices={"eth0": {"name": "x" * 16}}), '$.linux.netDevices["eth0"].name: '),
        (linux(timeOffsets={"boottime": {"secs": 1}}), "$.linux.timeOffsets: needs a time namespace"),
        (
            linux(
                namespaces=[{"type": "time", "path": "/proc/1/ns/time"}],
                timeOffsets={"boottime": {"secs": 1}},
            ),
            "$.linux.timeOffsets: cannot be set in a joined time namespace",
        ),
        (linux(intelRdt={"closID": "../x"}), "$.linux.intelRdt.closID: "),
        (linux(intelRdt={"memBwSchema": "L3:0=1"}), '$.linux.intelRdt.memBwSchema: must begin with "MB:"'),
        (linux(intelRdt={"schemata": ["a", "b\nc"]}), "$.linux.intelRdt.schemata[1]: "),
        (linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "a"}), "$.linux.memoryPolicy.nodes: "),
        (
            linux(memoryPolicy={"mode": "MPOL_DEFAULT", "nodes": "0-6,9"}),
            "$.linux.memoryPolicy.nodes: memory policy MPOL_DEFAULT: mode requires 0 nodes but got 8",
        ),
        (
            linux(memoryPolicy={"mode": "MPOL_BIND"}),
            "$.linux.memoryPolicy.nodes: memory policy MPOL_BIND: mode requires at least one node but got 0",
        ),
        (
            linux(
                memoryPolicy={
                    "mode": "MPOL_BIND",
                    "nodes": "0",
                    "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
                }
            ),
            "$.linux.memoryPolicy.flags: MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other",
        ),
        (
            process(scheduler={"policy": "SCHED_DEADLINE"}),
            "$.process.scheduler.runtime: must be at least 1024 ns, not 0",
        ),
        (
            process(scheduler={"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 1500}),
            "$.process.scheduler.deadline: must not be below the runtime, 2000 ns",
        ),
        (
            process(
                scheduler={"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 3000, "period": 2500}
            ),
            "$.process.scheduler.period: must not be below the deadline, 3000 ns",
        ),
        (linux(personality={"domain": "LINUX", "flags": ["X"]}), "$.linux.personality.flags[0]: "),
        (linux(sysctl={"vm.swappiness": "1"}), '$.linux.sysctl["vm.swappiness"]: is not in a namespace'),
        (linux(sysctl={"net.x": "1"}), '$.linux.sysctl["net.x"]: needs a network namespace'),
        (linux(sysctl={"kernel.shmmax": "1"}), '$.linux.sysctl["kernel.shmmax"]: needs a ipc namespace'),
        (linux("network", sysctl={"net../../vm.x": "1"}), '$.linux.sysctl["net../../vm.x"]: is not the name'),
        (linux(resources={"unified": {"../x.y": "1"}}), '$.linux.resources.unified["../x.y"]: '),
        (linux(resources={"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}), "$.linux.resources.huge"),
        (
            linux(resources={"devices": [{"allow": True, "type": "c", "access": "x"}]}),
            "$.linux.resources.devices[0].access: must be made of r, w and m",
        ),
        (
            {
                **process(scheduler={"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 3000}),
                "linux": {"resources": {"cpu": {"cpus": "0"}}},
            },
            "$.linux.resources.cpu.cpus: process scheduler can't be used",
        ),
        (linux(resources={"cpu": {"cpus": "0-"}}), "$.linux.resources.cpu.cpus: must be a list like 0-3,7"),
        (linux(resources={"rdma": {"x": {}}}), '$.linux.resources.rdma["x"].hcaHandles: is required'),
        (
            linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
            "$.linux.seccomp.defaultErrnoRet: cannot be used with SCMP_ACT_ALLOW",
        ),
        (
            linux(
                seccomp={
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}],
                }
            ),
            "$.linux.seccomp.syscalls[0].action: cannot be SCMP_ACT_NOTIFY without listenerPath",
        ),
        (
            linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "$.linux.seccomp.listenerMetadata: needs listenerPath",
        ),
    ],
    ids=lambda value: value.partition(": ")[0] if isinstance(value, str) else "",
)
def test_contradictions_are_refused_by_name(document: dict[str, Any], message: str) -> None:
    assert error_of(document).startswith(message)


def test_a_joined_user_namespace_needs_no_mappings() -> None:
    document = minimal(linux={"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]})
    assert load(document).linux.namespaces[0].path == "/proc/1/ns/user"


def test_an_empty_string_is_an_absent_choice_or_path() -> None:
    document = minimal(linux={"rootfsPropagation": "", "namespaces": [{"type": "pid", "path": ""}]})
    loaded = load(document).linux
    assert loaded.rootfs_propagation is None
    assert loaded.namespaces[0].path is None


@pytest.mark.parametrize("propagation", ["rshared", "rslave", "rprivate"])
def test_recursive_root_propagation_is_accepted_as_other_engines_write_it(propagation: str) -> None:
    assert load(linux("mount", rootfsPropagation=propagation)).linux.rootfs_propagation == propagation


def test_environment_values_are_not_shown_beyond_a_line() -> None:
    assert len(error_of(process(env=["x" * 5000]))) < 160


def test_a_process_file_is_checked_like_the_process_of_a_config(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    file.write_text('{"cwd": "/", "args": ["id"]}')
    assert load_process(str(file)).args == ("id",)
    file.write_text('{"cwd": "x", "args": ["id"]}')
    with pytest.raises(SpecError, match=r"\$\.cwd: must be an absolute path"):
        load_process(str(file))


def test_loading_a_spec_imports_no_slow_module() -> None:
    program = "import sys; import runwasi.oci.spec, runwasi.oci.state; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    heavy = {"re", "json", "typing", "enum", "dataclasses", "pathlib", "collections", "inspect", "functools"}
    assert not heavy & set(run.stdout.split())
