"""Runs the process that holds a pod's namespaces when containerd leaves the sandbox to the shim: our pause
container.

In its own pid namespace, it is the init and reaps orphans. Containers of the pod may see it, so it has an
empty read-only root and no capabilities, and cannot be traced. It ends with the server, however that ends.
"""

from __future__ import annotations

import os
import select
from errno import EIO

from runwasi.executor.undo import Undo
from runwasi.linux import capabilities, mounts, namespaces, processes, uts
from runwasi.linux.fd import Fd, close_owned
from runwasi.linux.namespaces import FLAGS
from runwasi.linux.waiting import Wait
from runwasi.startup import thin_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from runwasi.linux.processes import Child
    from runwasi.linux.waiting import Operation

_READ_ONLY = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC


class PodNamespaces:
    """The namespaces of a pod: kinds to make ("ipc", "uts", "pid"), a network namespace to join, its
    settings.

    sysctls are paths below /proc/sys with their values, checked to belong to those namespaces.
    """

    __slots__ = ("hostname", "kinds", "network", "sysctls")

    def __init__(
        self, kinds: tuple[str, ...], network: str, hostname: str, sysctls: Mapping[str, str]
    ) -> None:
        self.kinds = kinds
        self.network = network
        self.hostname = hostname
        self.sysctls = sysctls


def start(wanted: PodNamespaces, mount_point: str) -> Operation[Child]:
    """Start the process; done once it holds the namespaces. mount_point is any folder. Raises OSError."""
    flags = FLAGS["mnt"]
    for kind in wanted.kinds:
        flags |= FLAGS[kind]
    network = Fd(namespaces.open_namespace(wanted.network, "net")) if wanted.network else None
    report, end = map(Fd, os.pipe2(os.O_CLOEXEC))
    with report:
        try:
            child = processes.fork_into(flags | processes.CLONE_CLEAR_SIGHAND)
            if child is None:
                _run(wanted, network, mount_point, end.fileno())
        finally:
            close_owned((end, network))
        undo = Undo()
        undo.add(processes.end, child.pidfd)
        yield from undo.around(_told(report.fileno()))
    return child


def _told(report: int) -> Operation[None]:
    """Wait until the process has everything: it closes the pipe then, or says why not. Raises OSError."""
    yield Wait((report,))
    failure = os.read(report, select.PIPE_BUF)
    if failure:
        raise OSError(EIO, failure.decode(errors="replace"), "sandbox")


def _run(wanted: PodNamespaces, network: Fd | None, mount_point: str, report: int) -> NoReturn:
    try:
        _become(wanted, network, mount_point, report)
        os.close(report)
        while True:
            thin_signal.pause()
    except BaseException as error:  # noqa: BLE001  nothing of the server may run on in its child
        os.write(report, str(error).encode(errors="replace")[: select.PIPE_BUF])
    finally:
        os._exit(1)


def _become(wanted: PodNamespaces, network: Fd | None, mount_point: str, report: int) -> None:
    processes.set_pdeathsig(thin_signal.SIGKILL)
    processes.set_dumpable(False)
    processes.set_name("pause")
    thin_signal.set_wakeup_fd(-1)
    # The kernel reaps then: man 2 sigaction, SA_NOCLDWAIT.
    thin_signal.signal(thin_signal.SIGCHLD, thin_signal.SIG_IGN)
    for number in (thin_signal.SIGTERM, thin_signal.SIGINT):
        thin_signal.signal(number, lambda *_: os._exit(0))  # an init gets no signal without a handler
    if network is not None:
        namespaces.setns(network.fileno(), FLAGS["net"])
    if "uts" in wanted.kinds and wanted.hostname:
        uts.set_hostname(wanted.hostname)
    for path, value in wanted.sysctls.items():
        with open(f"/proc/sys/{path}", "wb", 0) as file:
            file.write(value.encode())
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    mounts.mount("tmpfs", mount_point, "tmpfs", _READ_ONLY, "size=0,mode=555")
    mounts.pivot_root(mount_point)
    processes.close_fds_except({report})
    processes.set_no_new_privs()
    capabilities.apply_bounding(0)
    capabilities.apply(capabilities.CapSets(0, 0, 0, 0, 0))
    os.setsid()
