"""Checks containerd: whether it answers, how it is configured for our runtimes, and whether it finds the shims."""

from __future__ import annotations

import os
import shutil

from runwasi.cli.doctor.finding import MISSING, OK, WARN, Finding, service
from runwasi.containerd.containerd_error import ContainerdError
from runwasi.deployment.containerd_config import kubelet_driver
from runwasi.deployment.containerd_document import PLUGINS, Document, has_systemd_cgroup
from runwasi.deployment.containerd_program import (
    DEFAULT_ADDRESS,
    DEFAULT_CONFIG,
    ContainerdProgram,
    is_older_than,
    pid_behind,
)
from runwasi.deployment.deployment_error import DeploymentError
from runwasi.deployment.runtimes import runtimes
from runwasi.deployment.target_node import TargetNode
from runwasi.engines import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_K3S_ADDRESS = "/run/k3s/containerd/containerd.sock"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INSTALL = "runwasi install containerd --write --restart"
_SECONDS = 0.5  # containerd answers for its version within a millisecond


def containerd(address: str = "") -> Iterator[Finding]:
    """Check the containerd at an address, or the usual ones."""
    address = address or os.environ.get("CONTAINERD_ADDRESS", "").removeprefix("unix://") or _usual_address()
    pid = pid_behind(address)
    program = _program_of(pid) or shutil.which("containerd") or ""
    if not program and not pid:
        if os.path.exists(address) and os.geteuid() != 0:
            yield Finding("containerd", WARN, f"{address}: only root may ask it", "sudo runwasi doctor")
            return
        yield Finding("containerd", MISSING, "not found in PATH", "apt-get install containerd")
        return
    if os.path.exists(address) and not os.access(address, os.W_OK):
        yield Finding("containerd", WARN, f"{address}: only root may ask it", "sudo runwasi doctor")
    else:
        yield _answer(address, program)
    yield from _shims(_path_of(pid))
    if program:
        yield from _configuration(pid, program)


def _usual_address() -> str:
    return (
        _K3S_ADDRESS
        if os.path.exists(_K3S_ADDRESS) and not os.path.exists(DEFAULT_ADDRESS)
        else DEFAULT_ADDRESS
    )


def _answer(address: str, program: str) -> Finding:
    if not os.path.exists(address):
        return Finding(
            "containerd", WARN, f"{program} does not run: no {address}", service("start", "containerd")
        )
    from runwasi.containerd.client import Containerd  # late: grpcio, 40 ms

    try:
        with Containerd(address, "default", _SECONDS) as client:
            return Finding("containerd", OK, f"{client.version()} at {address}")
    except ContainerdError as error:
        return Finding("containerd", WARN, str(error), service("restart", "containerd"))


def _program_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe") if pid else ""
    except OSError:
        return ""


def _path_of(pid: int) -> str:
    """Return the PATH in which containerd looks for shims: its own, or systemd's default."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().decode(errors="replace").split("\0")
    except OSError:
        return _PATH
    return next((item.removeprefix("PATH=") for item in variables if item.startswith("PATH=")), _PATH)


def _config_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
    except OSError:
        return DEFAULT_CONFIG
    for index, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in {"--config", "-config", "-c"}:
            return value or (words[index + 1] if index + 1 < len(words) else DEFAULT_CONFIG)
    return DEFAULT_CONFIG


def _shims(path: str) -> Iterator[Finding]:
    for engine in registry.names():
        names = [registry.shim_name(engine), registry.shim_name(engine, shared=True)]
        found = [shutil.which(name, path=path) for name in names]
        if all(found):
            yield Finding("shims", OK, f"{' and '.join(names)} in {os.path.dirname(found[0] or '')}")
        elif engine == registry.DEFAULT:
            lacking = ", ".join(name for name, place in zip(names, found, strict=True) if not place)
            mend = "make install, or for a Python environment runwasi install programs --write"
            yield Finding("shims", MISSING, f"{lacking}: not in containerd's PATH {path}", mend)


def _configuration(pid: int, program: str) -> Iterator[Finding]:
    config = _config_of(pid)
    try:
        document = _read(program, config)
    except PermissionError:
        yield Finding("runtimes", WARN, f"{config}: only root may read it", "sudo runwasi doctor")
        return
    except (DeploymentError, OSError) as error:
        yield Finding(
            "runtimes", MISSING, str(error), f"mend {config}, then {service('restart', 'containerd')}"
        )
        return
    if document.disables_cri:
        yield Finding("runtimes", OK, f"{config} turns CRI off: ctr and Docker need no entry")
        return
    ours = {runtime.type: runtime for runtime in runtimes(registry.names(), shared=True)}
    found = {name: table for name, table in document.runtimes.items() if _type_of(table) in ours}
    if not found:
        yield Finding("runtimes", MISSING, f"{config} has none of ours: pods cannot ask for one", _INSTALL)
    driver = kubelet_driver(TargetNode())
    for handler, table in found.items():
        yield from _runtime(handler, table, document, driver)
    if is_older_than(pid, [config, *document.imported()]):
        mend = f"{service('restart', 'containerd')}; its containers keep running"
        yield Finding("runtimes", WARN, f"containerd began before {config} was last written", mend)


def _read(program: str, config: str) -> Document:
    """Return the configuration as containerd reads it."""
    if not os.path.exists(config):
        return Document(f"version = {max(PLUGINS) - 1}\n", config)
    with open(config, encoding="utf-8") as file:
        written = Document(file.read(), config)
    if written.disables_cri:
        return written
    return Document(ContainerdProgram(program).dump(config), config)


def _type_of(table: Mapping[str, Any]) -> str:
    """Return a table's runtime type; a path to one of our shims counts as its type."""
    path = str(table.get("runtime_path") or "")
    known = registry.engine_of_shim(os.path.basename(path))
    return registry.runtime_name(known[0], shared=known[1]) if known else str(table.get("runtime_type"))


def _runtime(handler: str, table: Mapping[str, Any], document: Document, driver: str) -> Iterator[Finding]:
    sandboxer = table.get("sandboxer") or table.get("sandbox_mode") or "podsandbox"
    yield Finding("runtimes", OK, f"{handler} is {_type_of(table)}, sandboxer {sandboxer}")
    if not table.get("pod_annotations"):
        says = f"{handler} has no pod_annotations: a pod's io.runwasi annotations do not reach its containers"
        yield Finding("runtimes", WARN, says, f"remove its table from {document.path}, then: {_INSTALL}")
    options = table.get("options") or {}
    ours = bool(has_systemd_cgroup(table) or options.get("ConfigPath"))
    runcs = bool(has_systemd_cgroup(document.runtimes.get("runc", {})))
    wanted = driver == "systemd" if driver else runcs
    if ours is not wanted:
        whose = (
            f"kubelet's cgroupDriver is {driver}"
            if driver
            else f"runc's SystemdCgroup is {str(runcs).lower()}"
        )
        says = f"{handler} has SystemdCgroup = {str(ours).lower()}, but {whose}"
        yield Finding("runtimes", WARN, says, f"{_INSTALL}, or set it in {document.path}")
