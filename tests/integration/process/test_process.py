"""A process gets the attributes in its configuration, as the kernel reports them; invalid ones are refused.

Source: runtime-spec config.md#process and config-linux.md.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import in_user_namespace
from devtools.waiting import until
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

Json = Any
Start = Callable[..., Detached]


@pytest.fixture
def start(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> Iterator[Start]:
    """Start a sleeping container whose process and linux have the given members."""

    def started(process: Json | None = None, linux: Json | None = None, *, userns: bool = False) -> Detached:
        made = bundle(["sleep", "100"])
        made.process.update(process or {})
        made.linux.update(linux or {})
        if userns:
            in_user_namespace(made)
        container = Detached(runwasi, made.write(), container_id)
        container.run()
        return container

    yield started
    runwasi("delete", "--force", container_id)


def said(*command: str | int) -> str:
    """Return a host program's output."""
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    return done.stdout


def execute(container: Detached, *command: str, process: Json | None = None) -> str:
    """Return the output of a program run in a container, with these members of its process."""
    if process is None:
        return container.runtime("exec", container.id, *command).stdout
    path = container.bundle.path / "process.json"
    path.write_text(json.dumps({"cwd": "/", "args": command, "env": ["PATH=/bin"], **process}))
    return container.runtime("exec", "--process", path, container.id).stdout


def execute_on(container: Detached, process: Json | None = None) -> int:
    """Have a program run on in the container, with the container's process or the members of its own."""
    pid_file = container.bundle.path / "pid"
    command = ["exec", "--detach", "--pid-file", str(pid_file)]
    if process is None:
        command += [container.id, "sleep", "100"]
    else:
        path = container.bundle.path / "process.json"
        path.write_text(json.dumps({"cwd": "/", "args": ["/bin/sleep", "100"], **process}))
        command += ["--process", str(path), container.id]
    null = subprocess.DEVNULL
    subprocess.run(container.runtime.command(*command), stdin=null, stdout=null, stderr=null, check=True)
    return int(pid_file.read_text())


DEADLINE = {"policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 30_000_000, "period": 40_000_000}
RESET = "SCHED_FLAG_RESET_ON_FORK"

OURS = os.getpriority(os.PRIO_PROCESS, 0)  # the nice value of whoever asks for none
SCHEDULERS: list[tuple[Json, str, int]] = [
    ({"policy": "SCHED_OTHER", "nice": 5}, "SCHED_OTHER", 5),
    ({"policy": "SCHED_OTHER", "nice": -5}, "SCHED_OTHER", -5),
    ({"policy": "SCHED_BATCH", "nice": 19}, "SCHED_BATCH", 19),
    ({"policy": "SCHED_IDLE"}, "SCHED_IDLE", OURS),
    (DEADLINE, "SCHED_DEADLINE", OURS),
    (
        {**DEADLINE, "flags": [RESET, "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"]},
        "SCHED_DEADLINE|SCHED_RESET_ON_FORK",
        OURS,
    ),
    ({"policy": "SCHED_OTHER", "nice": 7, "flags": ["SCHED_FLAG_KEEP_PARAMS"]}, "SCHED_OTHER", OURS),
]


@pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
def test_schedulers_are_as_asked(start: Start, userns: bool) -> None:
    """Also those that the root of a user namespace may not take itself."""
    container = start({"scheduler": {"policy": "SCHED_BATCH", "nice": -4}}, userns=userns)
    assert "scheduling policy: SCHED_BATCH\n" in said("chrt", "-p", container.pid)
    assert os.getpriority(os.PRIO_PROCESS, container.pid) == -4
    for scheduler, policy, nice in SCHEDULERS:
        pid = execute_on(container, {"scheduler": scheduler})
        assert f"scheduling policy: {policy}\n" in said("chrt", "-p", pid)
        assert os.getpriority(os.PRIO_PROCESS, pid) == nice


def test_a_user_may_be_put_into_a_folder_of_roots(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    """As images do with /root: the program stands there, and cannot look around."""
    made = bundle(["sh", "-c", "ls; ls /proc/self/cwd/; grep CapEff /proc/self/status"])
    (made.rootfs / "root").mkdir(mode=0o700, exist_ok=True)
    (made.rootfs / "root").chmod(0o700)
    made.process.update(cwd="/root", user={"uid": 1000, "gid": 1000})
    done = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert done.stderr.count("Permission denied") == 2
    assert done.stdout.split() == ["CapEff:", "0000000000000000"]


def test_real_time_policies_use_time_of_the_cgroup(start: Start) -> None:
    """Of which a new cgroup has none: it is taken from what others left of the machine's."""
    cpu = {"realtimeRuntime": 50_000, "realtimePeriod": 1_000_000}
    container = start({"scheduler": {"policy": "SCHED_FIFO", "priority": 2}}, {"resources": {"cpu": cpu}})
    told = said("chrt", "-p", container.pid)
    assert "scheduling policy: SCHED_FIFO\n" in told
    assert "scheduling priority: 2\n" in told
    round_robin = {"policy": "SCHED_RR", "priority": 99, "flags": [RESET]}
    told = said("chrt", "-p", execute_on(container, {"scheduler": round_robin}))
    assert "scheduling policy: SCHED_RR|SCHED_RESET_ON_FORK\n" in told
    assert "scheduling priority: 99\n" in told


def test_a_deadline_is_in_nanoseconds(start: Start) -> None:
    container = start({"scheduler": DEADLINE})
    assert "parameters: 10000000/30000000/40000000\n" in said("chrt", "-p", container.pid)


def test_a_process_of_exec_has_the_containers_scheduling_or_its_own(start: Start) -> None:
    io_class = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    container = start({"scheduler": {"policy": "SCHED_BATCH", "nice": 3}, "ioPriority": io_class})
    own = {"scheduler": {"policy": "SCHED_IDLE"}, "ioPriority": {"class": "IOPRIO_CLASS_IDLE"}}
    first, same, other = container.pid, execute_on(container), execute_on(container, own)
    for pid in (first, same):
        assert "SCHED_BATCH" in said("chrt", "-p", pid)
        assert os.getpriority(os.PRIO_PROCESS, pid) == 3
        assert said("ionice", "-p", pid) == "best-effort: prio 6\n"
    assert "SCHED_IDLE" in said("chrt", "-p", other)
    assert said("ionice", "-p", other) == "idle\n"


@pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
def test_io_priorities_are_as_asked(start: Start, userns: bool) -> None:
    real_time = {"class": "IOPRIO_CLASS_RT", "priority": 0}
    container = start({"ioPriority": real_time}, userns=userns)
    assert said("ionice", "-p", container.pid) == "realtime: prio 0\n"
    for io_class, priority, shown in (
        ("RT", 5, "realtime: prio 5"),
        ("BE", 7, "best-effort: prio 7"),
        ("IDLE", 0, "idle"),
    ):
        asked = {"class": f"IOPRIO_CLASS_{io_class}", "priority": priority}
        assert execute(container, "ionice", process={"ioPriority": asked}).startswith(shown)


def test_a_real_time_policy_without_time_in_its_cgroup_says_what_it_lacks(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    made.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 1}
    refused = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert "the cgroup may need $.linux.resources.cpu.realtimeRuntime ($.process.scheduler)" in refused.stderr


def test_the_oom_score_is_as_asked_and_else_the_callers(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["cat", "/proc/self/oom_score_adj"])
    ours = Path("/proc/self/oom_score_adj").read_text()
    assert oci_runtime("run", "--bundle", made.path, container_id).stdout == ours
    for score in (1000, 500):
        made.process["oomScoreAdj"] = score
        assert oci_runtime("run", "--bundle", made.write().path, container_id).stdout == f"{score}\n"
    made.process["args"] = ["sleep", "100"]
    container = Detached(oci_runtime, made.write(), container_id)
    container.run()
    assert execute(container, "cat", "/proc/self/oom_score_adj") == "500\n"
    if oci_runtime.name == "runwasi":  # runc 1.1 takes the container's
        assert execute(container, "cat", "/proc/self/oom_score_adj", process={"oomScoreAdj": 700}) == "700\n"


def test_a_score_that_may_not_be_lowered_is_refused(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    made.process["oomScoreAdj"] = -1000
    command = runwasi.command("run", "--bundle", made.write().path, container_id)
    command[:0] = ["setpriv", "--bounding-set", "-sys_resource"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "oom_score_adj -1000: Permission denied ($.process.oomScoreAdj)" in refused.stderr


def test_a_personality_holds_for_every_process(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    made.linux["personality"] = {"domain": "LINUX32"}
    container = Detached(oci_runtime, made.write(), container_id)
    if oci_runtime.name == "runc":  # 1.1 knows none: the test shows that this makes the difference
        container.run()
        assert execute(container, "uname", "-m").strip() == os.uname().machine
        return
    container.run()
    assert Path(f"/proc/{container.pid}/personality").read_text() == "00000008\n"
    assert execute(container, "uname", "-m") in ("i686\n", "armv8l\n")


def test_a_process_of_exec_is_on_the_cpus_that_its_affinity_names(start: Start) -> None:
    container = start({"execCPUAffinity": {"final": "0"}})
    look = ["sed", "-n", "s/^Cpus_allowed_list:\t//p", "/proc/self/status"]
    everywhere = said("sed", "-n", "s/^Cpus_allowed_list:\t//p", f"/proc/{container.pid}/status")
    assert everywhere != "0\n"  # of the first process nothing is said
    assert execute(container, *look) == "0\n"
    assert execute(container, *look, process={}) == everywhere
    own = {"execCPUAffinity": {"initial": "0", "final": "1"}}
    assert execute(container, *look, process=own) == "1\n"


@pytest.mark.parametrize("member", ["initial", "final"])
def test_a_cpu_that_is_not_there_is_refused_by_exec(start: Start, member: str) -> None:
    container = start({"execCPUAffinity": {member: "4000"}})
    refused = container.runtime("exec", container.id, "true", check=False)
    assert refused.returncode == 255
    assert f"($.process.execCPUAffinity.{member})" in refused.stderr


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_DEFAULT"}, "default"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "prefer=relative:0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}, "bind=balancing:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
        ({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}, "weighted interleave:0"),
        ({"mode": "MPOL_PREFERRED"}, "local"),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, "prefer (many):0"),
        ({"mode": "MPOL_LOCAL"}, "local"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_memory_policy_is_as_asked(start: Start, policy: Json, shown: str) -> None:
    container = start(linux={"memoryPolicy": policy})
    first = Path(f"/proc/{container.pid}/numa_maps").read_text().partition("\n")[0]
    assert f" {shown} " in first
    assert f" {shown} " in execute(container, "head", "-n1", "/proc/self/numa_maps")


def test_limits_umask_and_groups_are_as_asked(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    made.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 200, "hard": 200},  # Go raises a soft one, now and then into exec
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
        {"type": "RLIMIT_FSIZE", "soft": 1 << 33, "hard": 1 << 34},
        {"type": "RLIMIT_RTPRIO", "soft": 0, "hard": 0},
    ]
    made.process["user"] = {"uid": 1000, "gid": 1001, "umask": 0o27, "additionalGids": [5, 70_000]}
    container = Detached(oci_runtime, made.write(), container_id)
    container.run()
    script = "id; cat /proc/self/limits; grep Groups /proc/self/status"
    for told in (
        Path(f"/proc/{container.pid}/limits").read_text(),
        execute(container, "sh", "-c", script),
    ):
        limits = {line[:26].strip(): line[26:].split()[:2] for line in told.splitlines()}
        assert limits["Max open files"] == ["200", "200"]
        assert limits["Max core file size"] == ["0", "unlimited"]
        assert limits["Max file size"] == [str(1 << 33), str(1 << 34)]
        assert limits["Max realtime priority"] == ["0", "0"]
    assert "uid=1000 gid=1001 groups=5,70000" in told
    umasks = [
        line for line in Path(f"/proc/{container.pid}/status").read_text().splitlines() if "Umask" in line
    ]
    assert umasks == ["Umask:\t0027"]
    own = {"user": {"uid": 7, "gid": 8}, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]}
    other = execute(container, "sh", "-c", "umask; id -u; id -g; id -G; ulimit -n", process=own)
    assert other.split() == ["0022", "7", "8", "8", "64"]
    if oci_runtime.name == "runwasi":  # runc 1.1 leaves the umask of exec as it is
        assert execute(container, "sh", "-c", "umask") == "0027\n"


@pytest.mark.parametrize("soft", [0, 1, 3])
@pytest.mark.parametrize("command", ["run", "create"])
def test_a_program_starts_with_as_few_open_files_as_asked(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, soft: int, command: str
) -> None:
    made = bundle(["sleep", "100"])
    made.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": 64}]
    container = Detached(runwasi, made.write(), container_id)
    if command == "run":
        container.run()
    else:
        container.create()
        runwasi("start", container_id)
    assert f"Max open files {soft} 64 files" in " ".join(
        Path(f"/proc/{container.pid}/limits").read_text().split()
    )


def test_capabilities_are_exactly_those_of_each_process(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    kill, chown, net = (f"CAP_{name}" for name in ("KILL", "CHOWN", "NET_BIND_SERVICE"))
    made = bundle(["sleep", "100"])
    made.process["user"] = {"uid": 1000, "gid": 1000}
    made.process["capabilities"] = {
        "bounding": [kill, chown, net],
        "permitted": [kill, net],
        "inheritable": [kill, net],
        "effective": [net],
        "ambient": [net],
    }
    container = Detached(oci_runtime, made.write(), container_id)
    container.run()
    masks = {"Inh": 0x420, "Prm": 0x400, "Eff": 0x400, "Bnd": 0x421, "Amb": 0x400}  # man 7 capabilities
    status = Path(f"/proc/{container.pid}/status")
    until(lambda: _capabilities(status.read_text()), lambda seen: seen == masks)  # runc does not await execve
    assert _capabilities(execute(container, "cat", "/proc/self/status")) == masks
    own = {
        "user": {"uid": 0, "gid": 0},
        "capabilities": {"bounding": [chown], "permitted": [chown], "effective": [chown]},
    }
    masks = {"Inh": 0, "Prm": 1, "Eff": 1, "Bnd": 1, "Amb": 0}
    assert _capabilities(execute(container, "cat", "/proc/self/status", process=own)) == masks


def _capabilities(status: str) -> dict[str, int]:
    return {line[3:6]: int(line.split()[1], 16) for line in status.splitlines() if line.startswith("Cap")}


def test_clocks_are_ahead_by_their_offsets(start: Start) -> None:
    offsets = {"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": 86_400}}
    made = start(linux={"timeOffsets": offsets, "namespaces": _namespaces("time")})
    told = execute(made, "sh", "-c", "cat /proc/uptime; cat /proc/self/timens_offsets")
    ahead = float(told.split()[0]) - float(Path("/proc/uptime").read_text().split()[0])
    assert 999_000 < ahead < 1_001_000
    assert told.split()[-6:] == ["monotonic", "86400", "0", "boottime", "1000000", "5"]


def test_clocks_may_not_go_below_zero(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["true"])
    made.linux.update(timeOffsets={"monotonic": {"secs": -(10**12)}}, namespaces=_namespaces("time"))
    refused = runwasi("run", "--bundle", made.write().path, container_id, check=False)
    assert "Numerical result out of range ($.linux.timeOffsets.monotonic)" in refused.stderr


def _namespaces(*more: str) -> Json:
    return [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", *more)]


def test_kernel_parameters_of_the_containers_namespaces_are_set(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    parameters = {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.ping_group_range": "0\t2147483647",
        "net.ipv4.conf.lo.forwarding": "1",
        "kernel.msgmax": "65536",
        "fs.mqueue.msg_max": "20",
        "kernel.domainname": "some.domain",
    }
    names = [name.replace(".", "/") for name in parameters]
    made = bundle(["sh", "-c", "cd /proc/sys; cat " + " ".join(names)])
    made.linux["sysctl"] = parameters
    before = [Path("/proc/sys", name).read_text() for name in names]
    assert oci_runtime("run", "--bundle", made.write().path, container_id).stdout.splitlines() == [
        *parameters.values()
    ]
    assert [Path("/proc/sys", name).read_text() for name in names] == before


BAD: dict[str, tuple[Json, Json]] = {
    "$.process.scheduler.policy": ({"scheduler": {"policy": "SCHED_NONE"}}, {}),
    "$.process.scheduler.nice": ({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}, {}),
    "$.process.scheduler.priority": ({"scheduler": {"policy": "SCHED_FIFO", "priority": 100}}, {}),
    "$.process.scheduler.runtime": ({"scheduler": {"policy": "SCHED_DEADLINE"}}, {}),
    "$.process.scheduler.flags[0]": ({"scheduler": {"policy": "SCHED_OTHER", "flags": ["X"]}}, {}),
    "$.process.ioPriority.class": ({"ioPriority": {"class": "IOPRIO_CLASS_NONE"}}, {}),
    "$.process.ioPriority.priority": ({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, {}),
    "$.process.oomScoreAdj": ({"oomScoreAdj": 1001}, {}),
    "$.process.execCPUAffinity.final": ({"execCPUAffinity": {"final": "1-0"}}, {}),
    "$.process.rlimits[0].type": ({"rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]}, {}),
    "$.process.rlimits[0].soft": ({"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]}, {}),
    "$.process.user.umask": ({"user": {"uid": 0, "gid": 0, "umask": -1}}, {}),
    "$.process.user.additionalGids[1]": ({"user": {"uid": 0, "gid": 0, "additionalGids": [1, -1]}}, {}),
    "$.process.capabilities.ambient": ({"capabilities": {"ambient": "CAP_KILL"}}, {}),
    "$.linux.personality.domain": ({}, {"personality": {"domain": "BSD"}}),
    "$.linux.memoryPolicy.mode": ({}, {"memoryPolicy": {"mode": "MPOL_NONE"}}),
    "$.linux.memoryPolicy.nodes": ({}, {"memoryPolicy": {"mode": "MPOL_BIND"}}),
    '$.linux.netDevices["eth0"].name': ({}, {"netDevices": {"eth0": {"name": "a/b"}}}),
    "$.linux.timeOffsets": ({}, {"timeOffsets": {"boottime": {"secs": 1}}}),
    '$.linux.sysctl["vm.swappiness"]': ({}, {"sysctl": {"vm.swappiness": "1"}}),
    "$.linux.intelRdt.closID": ({}, {"intelRdt": {"closID": "../x"}}),
}


def test_a_bad_value_is_refused_by_name_before_anything_is_made(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    for member, (process, linux) in BAD.items():
        made = bundle(["true"], busybox=False)
        made.process.update(process)
        made.linux.update(linux)
        refused = runwasi("create", "--bundle", made.write().path, container_id, check=False)
        assert refused.returncode == 1
        assert f"{member}: " in refused.stderr
    assert not runwasi.root.exists()


REFUSED: dict[str, tuple[Json, Json]] = {
    "$.process.scheduler": ({"scheduler": {"policy": "SCHED_ISO"}}, {}),
    "$.process.rlimits[0]": ({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 0, "hard": 2**63}]}, {}),
    "$.process.rlimits[0].hard": ({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3}]}, {}),
    "$.linux.memoryPolicy": ({}, {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "63"}}),
    "$.linux.intelRdt": ({}, {"intelRdt": {"closID": "no-such-class"}}),
    '$.linux.netDevices["nowhere0"]': ({}, {"netDevices": {"nowhere0": {}}}),
    "$.linux.sysctl['net.ipv4.no_such']": ({}, {"sysctl": {"net.ipv4.no_such": "1"}}),
}


@pytest.mark.parametrize("member", REFUSED)
def test_a_refusal_by_the_kernel_is_named_and_undone(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, member: str
) -> None:
    made = bundle(["true"])
    process, linux = REFUSED[member]
    made.process.update(process)
    made.linux.update(linux)
    refused = runwasi("create", "--bundle", made.write().path, container_id, check=False)
    assert refused.returncode == 1
    assert f"({member})" in refused.stderr
    assert os.listdir(runwasi.root) == []
