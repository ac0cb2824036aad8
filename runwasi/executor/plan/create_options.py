"""Defines a caller's options for creating a container, in addition to its config.json."""

from __future__ import annotations

import os

from runwasi.engines.engine import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from runwasi.engines.engine import Engine
    from runwasi.engines.layer_choice import Layer
    from runwasi.executor.telemetry.timing import Timing

    class ImageSource(Protocol):
        """A source of the wasm layers of a container's image."""

        def prepare(self) -> tuple[int, ...]:
            """Prepare for the other calls. The creator calls it before it forks the process that makes them.

            Returns the descriptors that this process must keep.
            """

        def fetch(self) -> tuple[Layer, ...]:
            """Return the layers; () when the image has none. Raises an error whose text says why it failed."""

        def keep(self, layer: str, key: str, artefact: int) -> None:
            """Keep the artefact of a layer's module by the layer's digest and the artefact's key, or say why not."""


class CreateOptions:
    """Options of create, all with the defaults of a plain `runwasi create`.

    stdio           descriptors that become 0, 1 and 2; they stay the caller's
    console_socket  connected unix socket that the pty's master is sent to, None without
    pid_file        where to write the first process's pid, "" for nowhere
    systemd_cgroup  cgroupsPath is slice:prefix:name and systemd makes the cgroup
    no_cgroup       leave the container in the caller's cgroup
    no_pivot        change the root by moving the mount, for a host on an initramfs
    no_new_keyring  keep the caller's session keyring
    rootless        do without the cgroups that may not be made; None finds out whether we are the host's root
    preserve_fds    how many descriptors from 3 on the container inherits
    engine          name of the engine for wasm, or the engine itself
    tied            the creator starts the container itself: until its program runs, the container ends with that
    images          who can be asked for the wasm layers of the container's image, None for nobody
    guest_procfs    a mount of a procfs without processes to copy for a module, None to make one
    timing          notes when each step ended, None where nobody asks
    warn            told in one sentence what went wrong but stops nothing, such as a failing poststop hook
    cache_root      where compiled modules and filters are kept
    """

    __slots__ = (
        "cache_root",
        "console_socket",
        "engine",
        "guest_procfs",
        "images",
        "no_cgroup",
        "no_new_keyring",
        "no_pivot",
        "pid_file",
        "preserve_fds",
        "rootless",
        "stdio",
        "systemd_cgroup",
        "tied",
        "timing",
        "warn",
    )

    def __init__(
        self,
        *,
        stdio: Stdio | None = None,
        console_socket: int | None = None,
        pid_file: str = "",
        systemd_cgroup: bool = False,
        no_cgroup: bool = False,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        rootless: bool | None = None,
        preserve_fds: int = 0,
        engine: str | Engine = "wasmtime",
        images: ImageSource | None = None,
        guest_procfs: int | None = None,
        tied: bool = False,
        timing: Timing | None = None,
        warn: Callable[[str], None] | None = None,
        cache_root: str = "/var/cache/runwasi",
    ) -> None:
        self.stdio = stdio or Stdio()
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.systemd_cgroup = systemd_cgroup
        self.no_cgroup = no_cgroup
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.rootless = os.geteuid() != 0 if rootless is None else rootless
        self.preserve_fds = preserve_fds
        self.engine = engine
        self.images = images
        self.guest_procfs = guest_procfs
        self.tied = tied
        self.timing = timing
        self.warn = warn
        self.cache_root = cache_root
