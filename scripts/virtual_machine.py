"""Run tests in a virtual machine: Debian's cloud kernel under QEMU's own processor, on this machine's files.

Three boots at once: one where the tests run alone on cgroup v2, one for what criu does, and one under systemd
for the systemd driver. The guest sees this machine's root read-only through virtiofs, with a layer of memory
above it for what it writes, so the same virtual environment and the same work tree are tested. It has no network.
A fourth, only when it is named, is an arm64 machine, whose root arm64_root makes; the work tree is in it too.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from devtools.components.build import component
from devtools.waiting import settled
from scripts import arm64_root

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "cache" / "vm"
BUSYBOX = Path("/bin/busybox")
ARM64 = "arm64"
VIRTIOFSD = (Path("/usr/lib/qemu/virtiofsd"), Path("/usr/libexec/virtiofsd"))
MEMORY = "2G"
BOOT_SECONDS = 1800  # of one boot here with its tests; the emulated processor is ten to twenty times slower

# What the first program needs, in the order to load it; built-in ones are missing from a kernel's modules.
MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "fuse",
    "virtiofs",
    "overlay",
)

# Of the HTTP server's tests, those of the smallest component.
ARM64_SERVERS = (
    "an_idle_server_ends_at_once_with_0",
    "the_annotation_sets_the_number_of_workers",
    "it_serves_where_addresses_are_scarce",
    "an_address_in_use_is_said_to_be",
)
# Of the Task service's tests, one for each kind of call.
ARM64_CALLS = (
    "a_container_lives_from_create_to_delete",
    "events_come_in_the_order_things_happened",
    "pause_and_resume_are_told",
    "signal_0_only_asks_and_a_bad_one_is_refused",
    "an_exec_has_a_life_of_its_own",
    "stats_come_under_the_type_of_the_hosts_cgroup_version",
    "update_changes_a_limit",
)
# What may depend on the architecture: the kernel's calls and structures, filters, engines, whole containers, the shim
# with containerd and without, and the bundle.
ARM64_TESTS = (
    "tests/vm/bare",
    "tests/unit/linux",
    "tests/unit/executor/test_wasm_filter.py",
    "tests/wasi",
    *(
        f"tests/integration/{name}"
        for name in (
            "process/test_kernel_seccomp.py",
            "process/test_container_seccomp.py",
            "mounts/test_processless_procfs.py",
            "cli/test_run.py",
            "confinement/test_wasm_sandbox.py",
            "wasm/test_containers.py",
            "wasm/test_component_containers.py",
            "wasm/test_configuration.py::test_programs_and_modules_are_executed_beside_a_module",
            *(f"wasi/test_http_server_lifecycle.py::test_{name}" for name in ARM64_SERVERS),
            *(f"shim/test_task_api.py::test_{name}" for name in ARM64_CALLS),
            "shim/test_streams.py",
            "containerd/test_run.py",
            "containerd/test_tasks.py",
        )
    ),
    "tests/release/test_bundle.py",
)
# The emulator is too slow for what these say of the time that something takes, to compile an interpreter, and to look
# at each file of a bundle.
TOO_SLOW_FOR = (
    "a_signal_ends_it_at_once",
    "compiles_and_says_nothing",
    "compiled_once",
    "a_server_serves_and_ends",
    "sockets_are_those_of_the_containers_network",
    "installing_again_changes_nothing",
    "ordinary_users_own_is_copied",
)
# What that machine has not: releases of containerd, which are parameters of tests, and a Debian without Python.
ABSENT = ("1.7", "[2-wasmtime", "[2-runc", "sigterm[2]", "in_a_debian")
# That machine lacks the tools that make the components for these tests.
COMPONENTS = ("functions", "hello", "program")

# The programs of the work tree, which are for this machine, made anew in the layer of memory.
ARM64_PROGRAMS = """\
rm -rf build/bin build/lib build/client
python3 -IS scripts/launchers.py compile --into build/client
python3 -IS scripts/launchers.py write --python /usr/bin/python3 --bin build/bin --path "$PWD" \\
    --path "$PWD"/.venv/lib/python*/site-packages --client build/client"""

# The mark of tests that run here as well as on this machine.
MARK = "cgroup_v2"

# What each boot runs: arguments of pytest.
TESTS = {
    "bare": ["-m", MARK, "tests/vm/bare"],
    "checkpoint": ["tests/vm/checkpoint"],
    "systemd": ["tests/vm/systemd"],
    ARM64: ["-k", f"not ({' or '.join(TOO_SLOW_FOR + ABSENT)})", *ARM64_TESTS],
}
TOGETHER = [mode for mode in TESTS if mode != ARM64]

# systemd is asked for this one service; only the message bus comes along, freed of its usual dependencies.
UNITS = {
    "runwasi-tests.service": """\
[Unit]
DefaultDependencies=no
Wants=dbus.socket
After=dbus.socket
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
Delegate=yes
ExecStart=/run/tests
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
""",
    "dbus.socket": """\
[Unit]
DefaultDependencies=no

[Socket]
ListenStream=/run/dbus/system_bus_socket
""",
    "dbus.service": """\
[Unit]
DefaultDependencies=no
Requires=dbus.socket

[Service]
Type=notify
NotifyAccess=main
ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation
""",
}


class Machine(NamedTuple):
    """A machine to boot: QEMU's program and processor, the terminals of its output and of the status, its files.

    `status_line` is QEMU's options for the latter terminal, connected to the chardev "status". `package` has /boot
    and /lib/modules.
    """

    qemu: tuple[str, ...]
    kernel_options: str
    console: str
    status: str
    status_line: tuple[str, ...]
    package: Path
    root: Path
    busybox: Path
    seconds: int


def main(arguments: list[str]) -> int:
    """Run the boots that are named, or all of this architecture; return the exit status: 0 when all tests passed.

    Arguments after "--" go to pytest for the named boots, instead of their own.
    """
    names = arguments[: arguments.index("--")] if "--" in arguments else arguments
    chosen = arguments[len(names) + 1 :]
    modes = TOGETHER if names in ([], ["test"]) else names
    if unknown := [mode for mode in modes if mode not in TESTS]:
        print(f"vm: no such boot: {', '.join(unknown)} ({', '.join(TESTS)})", file=sys.stderr)
        return 2
    machines = {mode: machine_of(mode) for mode in modes}
    # a boot's tests keep one processor busy; of several boots, each shows its output when it has ended
    with ThreadPoolExecutor(len(modes)) as pool:
        statuses = list(
            pool.map(lambda mode: boot(machines[mode], mode, chosen, aside=len(modes) > 1), modes)
        )
    failed = [mode for mode, status in zip(modes, statuses, strict=True) if status != 0]
    if failed:
        print(f"vm: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def machine_of(mode: str) -> Machine:
    """Describe the machine of a boot; what it is made of is downloaded the first time."""
    if mode == ARM64:
        for name in COMPONENTS:
            component(name)
        root = with_module_list(arm64_root.made(CACHE))
        return Machine(
            # the processor's own way to sign pointers takes an emulator half of its time
            qemu=("qemu-system-aarch64", "-machine", "virt", "-cpu", "max,pauth-impdef=on"),
            kernel_options="",
            console="ttyAMA0",
            status="ttyS0",
            status_line=("-device", "pci-serial,chardev=status"),
            package=root,
            root=root,
            busybox=root / "bin/busybox",
            seconds=7200,
        )
    if not (CACHE / "kernel").is_dir():
        unpack(newest_kernel(), CACHE / "kernel")
    return Machine(
        qemu=("qemu-system-x86_64", "-cpu", "max"),
        # on a busy machine the emulated timer comes too late for the kernel's check, which then panics
        kernel_options="no_timer_check",
        console="ttyS0",
        status="ttyS1",
        status_line=("-serial", "chardev:status"),
        package=with_module_list(CACHE / "kernel"),
        root=Path("/"),
        busybox=BUSYBOX,
        seconds=BOOT_SECONDS,
    )


def with_module_list(folder: Path) -> Path:
    """Return the folder that a kernel's package is unpacked in, with what modprobe reads."""
    (modules,) = (folder / "lib" / "modules").iterdir()
    if not (modules / "modules.dep").exists():  # packages have it made when they are installed
        subprocess.run(["depmod", "--basedir", folder, modules.name], check=True)
    return folder


def unpack(package: str, folder: Path) -> None:
    """Download a package and unpack it into a new folder."""
    print(f"vm: unpacking {package}", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        subprocess.run(
            ["apt-get", "download", "-qq", package], cwd=work, check=True, stderr=subprocess.DEVNULL
        )
        (archive,) = Path(work).glob("*.deb")
        subprocess.run(["dpkg", "-x", archive, f"{work}/root"], check=True)
        os.rename(f"{work}/root", folder)


def newest_kernel() -> str:
    """Return the package that Debian's linux-image-cloud-amd64 stands for."""
    query = ["apt-cache", "depends", "--important", "linux-image-cloud-amd64"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        found = subprocess.run(query, capture_output=True, text=True, check=True)
    return next(line.split()[-1] for line in found.stdout.splitlines() if "Depends:" in line)


def boot(machine: Machine, mode: str, chosen: list[str], *, aside: bool = False) -> int:
    """Boot once and return the exit status of the guest's tests; 1 if it told none.

    The guest's output is shown as it comes, or with aside all at once at the end.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="runwasi-vm-") as work:
        write_initramfs(machine, mode, chosen, Path(work))
        status, printed = Path(work) / "status", Path(work) / "printed"
        with shared_root(machine.root, Path(work)) as socket, printed.open("wb") as output:
            command = qemu_command(machine, mode, Path(work), socket)
            shown = output if aside else None
            try:
                subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=shown,
                    stderr=shown,
                    timeout=machine.seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                print(f"vm: {mode} did not end within {machine.seconds} s", file=sys.stderr)
        told = status.read_text().split() if status.exists() else []
        text = printed.read_text(errors="replace")
    print(f"vm: {mode} took {time.monotonic() - started:.0f} s\n{text}", flush=True)
    return int(told[0]) if told else 1


def qemu_command(machine: Machine, mode: str, work: Path, socket: Path) -> list[str]:
    """Build the machine: two processors, a serial line to here and one for the status, the shared root."""
    (image,) = (machine.package / "boot").glob("vmlinuz-*")
    line = f"console={machine.console} quiet panic=-1 {machine.kernel_options} runwasi.mode={mode}"
    if mode == "systemd":
        line += " systemd.unified_cgroup_hierarchy=1 systemd.show_status=0"
    return [
        *(*machine.qemu, "-accel", "tcg,thread=multi", "-smp", "2", "-no-reboot"),
        *("-nodefaults", "-display", "none", "-serial", "stdio"),
        *("-chardev", f"file,id=status,path={work}/status", *machine.status_line),
        *("-m", MEMORY, "-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on"),
        *("-numa", "node,memdev=memory"),
        *("-chardev", f"socket,id=root,path={socket}", "-device", "vhost-user-fs-pci,chardev=root,tag=host"),
        *("-kernel", str(image), "-initrd", f"{work}/initramfs", "-append", line),
    ]


@contextlib.contextmanager
def shared_root(root: Path, work: Path) -> Iterator[Path]:
    """Serve a root with the work tree in it, made read-only for the server too, on the socket that is given.

    Both servers take these options: QEMU's own of Debian 12, and the later one, which is a project of its own.
    """
    socket, view = work / "virtiofs", work / "view"
    view.mkdir()
    server = next((path for path in VIRTIOFSD if path.exists()), None)
    if server is None:
        raise SystemExit("vm: virtiofsd is not installed")
    script = """
        mkdir -p "$5$2"
        mount --bind "$5/" "$1" && mount --bind "$2" "$1$2"
        mount -o remount,bind,ro "$1" && mount -o remount,bind,ro "$1$2"
        exec "$3" --socket-path="$4" -o source="$1" -o sandbox=chroot -o cache=always
    """
    arguments = [str(view), str(ROOT), str(server), str(socket), str(root).rstrip("/")]
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "share", *arguments]
    # It complains whenever a guest powers off.
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        settled(lambda: socket.exists() or process.poll() is not None, bool, seconds=10)
        if not socket.exists():
            raise SystemExit("vm: virtiofsd did not start")
        yield socket
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait()


def write_initramfs(machine: Machine, mode: str, chosen: list[str], work: Path) -> None:
    """Pack busybox, the modules, our init and what it starts into work/initramfs."""
    tree = work / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "modules").mkdir()
    (tree / "units").mkdir()
    shutil.copy(machine.busybox, tree / "bin" / "busybox")
    shutil.copy(ROOT / "scripts" / "vm-init", tree / "init")
    (tree / "project").write_text(str(ROOT))
    (tree / "tests").write_text(test_script(machine, mode, chosen or TESTS[mode]))
    for name, text in UNITS.items():
        (tree / "units" / name).write_text(text)
    order = [name for name in MODULES if copy_module(machine.package, name, tree / "modules")]
    (tree / "modules" / "order").write_text("".join(f"{name}.ko\n" for name in order))
    with (work / "initramfs").open("wb") as archive:
        names = "\n".join(str(path.relative_to(tree)) for path in tree.rglob("*"))
        packer = [str(BUSYBOX), "cpio", "-o", "-H", "newc"]
        subprocess.run(
            packer, input=names.encode(), stdout=archive, stderr=subprocess.DEVNULL, cwd=tree, check=True
        )


def copy_module(package: Path, name: str, folder: Path) -> bool:
    """Copy a module, unpacked; False when this kernel has it built in."""
    for path in package.glob(f"lib/modules/*/kernel/**/{name}.ko*"):
        content = path.read_bytes()
        (folder / f"{name}.ko").write_bytes(lzma.decompress(content) if path.suffix == ".xz" else content)
        return True
    return False


def marked_files() -> list[str]:
    """Find the files with marked tests: only to import all the others would take the guest a minute."""
    files = sorted((ROOT / "tests" / "integration").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in files if MARK in path.read_text()]


def test_script(machine: Machine, mode: str, tests: list[str]) -> str:
    """Write what the guest runs in the end: the tests, and their exit status to the terminal for it."""
    colour = "yes" if sys.stdout.isatty() else "no"
    marked = marked_files() if MARK in tests else []
    arguments = " ".join(f"'{argument}'" for argument in [f"--color={colour}", *tests, *marked])
    return f"""\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 RUNWASI_TESTS_ALONE=1 RUNWASI_VM={mode}
cd '{ROOT}'
{ARM64_PROGRAMS if mode == ARM64 else ""}
.venv/bin/python -m pytest -p no:cacheprovider {arguments} </dev/null
echo $? >/dev/{machine.status}
{"" if mode == "systemd" else "/run/busybox poweroff -f"}
"""


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
