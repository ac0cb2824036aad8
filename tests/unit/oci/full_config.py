"""A config.json that uses every member the Linux part of the runtime specification has."""

from __future__ import annotations

import json
from typing import Any

_ID_MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
_HOOK = [{"path": "/bin/hook", "args": ["hook", "-v"], "env": ["A=1"], "timeout": 5}]
_HOOK_POINTS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)
_THROTTLE = [{"major": 8, "minor": 0, "rate": 1024}]

_FULL: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "domainname": "example",
    "annotations": {"org.example.key": "value"},
    "process": {
        "cwd": "/",
        "args": ["sh", "-c", "true"],
        "env": ["PATH=/bin", "EMPTY="],
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4], "username": "me"},
        "capabilities": {
            kind: ["CAP_KILL"] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        "noNewPrivileges": True,
        "apparmorProfile": "profile",
        "selinuxLabel": "a:b:c:s0",
        "oomScoreAdj": -5,
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "nice": 0,
            "priority": 0,
            "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            "runtime": 1024,
            "deadline": 2048,
            "period": 4096,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "0-1,3"},
    },
    "mounts": [
        {
            "destination": "/data",
            "type": "none",
            "source": "/srv",
            "options": ["rbind", "ridmap"],
            "uidMappings": _ID_MAP,
            "gidMappings": _ID_MAP,
        }
    ],
    "hooks": dict.fromkeys(
        ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"), _HOOK
    ),
    "linux": {
        "namespaces": [
            {"type": "network", "path": "/run/netns/a"},
            {"type": "mount"},
            {"type": "pid"},
            {"type": "uts"},
            {"type": "ipc"},
            {"type": "user"},
            {"type": "cgroup"},
            {"type": "time"},
        ],
        "uidMappings": _ID_MAP,
        "gidMappings": _ID_MAP,
        "devices": [
            {"type": "c", "path": "/dev/x", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}
        ],
        "netDevices": {"eth0": {"name": "inside"}},
        "cgroupsPath": "/a/b",
        "rootfsPropagation": "slave",
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "mountLabel": "a:b:c:s0",
        "intelRdt": {
            "closID": "guaranteed",
            "schemata": ["L3:0=ff"],
            "l3CacheSchema": "L3:0=f",
            "memBwSchema": "MB:0=20",
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
        "personality": {"domain": "LINUX32", "flags": []},
        "timeOffsets": {
            "boottime": {"secs": 1, "nanosecs": 2},
            "monotonic": {"secs": -1, "nanosecs": 2},
        },
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/listener",
            "listenerMetadata": "data",
            "syscalls": [
                {
                    "names": ["read"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 1,
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
                }
            ],
        },
        "resources": {
            "devices": [{"allow": False, "type": "a", "major": 1, "minor": 2, "access": "rwm"}],
            "memory": {
                "limit": 1,
                "reservation": 1,
                "swap": -1,
                "kernel": 1,
                "kernelTCP": 1,
                "swappiness": 60,
                "disableOOMKiller": False,
                "useHierarchy": True,
                "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1024,
                "quota": -1,
                "burst": 1,
                "period": 100000,
                "realtimeRuntime": 1,
                "realtimePeriod": 1,
                "cpus": "",
                "mems": "0",
                "idle": 0,
            },
            "pids": {"limit": 10},
            "blockIO": {
                "weight": 10,
                "leafWeight": 10,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                "throttleReadBpsDevice": _THROTTLE,
                "throttleWriteBpsDevice": _THROTTLE,
                "throttleReadIOPSDevice": _THROTTLE,
                "throttleWriteIOPSDevice": _THROTTLE,
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}},
            "unified": {"memory.high": "1"},
        },
    },
}


def full_config() -> dict[str, Any]:
    """Return a fresh copy that shares nothing, not even within itself."""
    copy: dict[str, Any] = json.loads(json.dumps(_FULL))
    return copy
