"""Compiles the spec's seccomp profile once per node, and keeps the filter.

Compiling Docker's default profile takes libseccomp tens of milliseconds; reading the program back takes none.
A kept program confines containers, so nobody else may write to its folder: we check that on the folder's
descriptor. The name is the digest of the profile. The first line names the libseccomp that compiled it,
because a newer one knows more system calls. Source: runtime-spec config-linux.md#seccomp.
"""

from __future__ import annotations

import os
from errno import EEXIST, ENOENT

from runwasi.executor.errors import ContainerError, describe
from runwasi.linux import seccomp_filter as kernel
from runwasi.linux import sockets
from runwasi.linux.fd import Fd, write_all
from runwasi.linux.seccomp_filter import Filter
from runwasi.oci.decode import SpecError
from runwasi.startup.hashing import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.linux.waiting import Operation
    from runwasi.oci.seccomp import Seccomp, Syscall
    from runwasi.oci.state import ContainerProcessState

ROOT = "$.linux.seccomp"
LISTENER_NAME = "seccompFd"
"""The name of the listener in ContainerProcessState.fds, which the spec prescribes."""

_EPERM = 1
_FORMAT = "2"
_ACTIONS = {
    "SCMP_ACT_KILL": kernel.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": kernel.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": kernel.KILL_PROCESS,
    "SCMP_ACT_TRAP": kernel.TRAP,
    "SCMP_ACT_ERRNO": kernel.ERRNO,
    "SCMP_ACT_TRACE": kernel.TRACE,
    "SCMP_ACT_ALLOW": kernel.ALLOW,
    "SCMP_ACT_LOG": kernel.LOG,
    "SCMP_ACT_NOTIFY": kernel.NOTIFY,
}
_OPERATORS = {
    "SCMP_CMP_NE": kernel.NE,
    "SCMP_CMP_LT": kernel.LT,
    "SCMP_CMP_LE": kernel.LE,
    "SCMP_CMP_EQ": kernel.EQ,
    "SCMP_CMP_GE": kernel.GE,
    "SCMP_CMP_GT": kernel.GT,
    "SCMP_CMP_MASKED_EQ": kernel.MASKED_EQ,
}
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": kernel.FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": kernel.FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": kernel.FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": kernel.FLAG_WAIT_KILLABLE_RECV,
}
# The filtered process sends the listener itself: nobody could answer these calls before the agent has it.
_NEEDED_TO_HAND_OVER = ("sendmsg", "write")


def compiled(profile: Seccomp | None, cache_root: str) -> Operation[Filter | None]:
    """Return the profile's filter, cached below cache_root; None without a profile.

    Another process compiles a profile that is new to this node: with thousands of comparisons libseccomp needs
    seconds. Raises SpecError for a profile that cannot work, ContainerError if libseccomp is missing or refuses it.
    """
    if profile is None:
        return None
    flags = filter_flags(profile)
    program = _kept(repr(profile), cache_root)
    if program is None:
        from runwasi.executor.parent import errands  # late: most profiles have been compiled

        message = yield from errands.run(
            lambda: ((), (_as_file(_program(repr(profile), lambda: profile, cache_root)),)),
            "compiling the seccomp profile",
        )
        with Fd(message.fds[0]) as file:
            program = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
    return Filter(program, flags)


def compiled_from(description: object, make: Callable[[], Seccomp], cache_root: str) -> Filter:
    """Return the filter of a profile without flags and notifications; call make only if it must be compiled.

    The description identifies the profile. Raises ContainerError if libseccomp is missing or refuses it.
    """
    return Filter(_program(repr(description), make, cache_root), kernel.FLAG_SPEC_ALLOW)


def _kept(description: str, cache_root: str) -> bytes | None:
    folder = _open_cache(cache_root)
    if folder is None:
        return None
    with folder:
        return _lookup(folder.fileno(), _key(description))


def _key(description: str) -> str:
    key: str = sha256(f"{_FORMAT} {os.uname().machine} {description}".encode()).hexdigest()
    return key


def _as_file(program: bytes) -> int:
    """Return a descriptor of a file in memory that holds the program: it may be longer than a message."""
    fd = os.memfd_create("seccomp")
    write_all(fd, program, "seccomp")
    return fd


def _program(description: str, make: Callable[[], Seccomp], cache_root: str) -> bytes:
    key = _key(description)
    folder = _open_cache(cache_root)
    if folder is None:
        return _compile(make())
    with folder:
        program = _lookup(folder.fileno(), key)
        if program is None:
            program = _compile(make())
            _store(folder.fileno(), key, program)
    return program


def filter_flags(profile: Seccomp) -> int:
    """Return the flags for seccomp(2).

    If the profile does not set them, speculation stays as it is, as in runc and crun: the kernel's default
    mitigation for filtered processes slows every program down. An empty array asks for it. Raises
    SpecError for notifications that nobody could answer.
    """
    flags = 0
    for name in ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",) if profile.flags is None else profile.flags:
        flags |= _FLAGS[name]
    notifying = [rule for rule in profile.syscalls if rule.notifies()]
    for index, rule in enumerate(profile.syscalls):
        if rule in notifying:
            _check_notifying(index, rule)
    if notifying:
        flags |= kernel.FLAG_NEW_LISTENER
        if flags & kernel.FLAG_TSYNC:
            flags |= (
                kernel.FLAG_TSYNC_ESRCH
            )  # both return a number: the kernel requires this flag to tell them apart
    else:
        flags &= ~kernel.FLAG_WAIT_KILLABLE_RECV  # refused by the kernel where there is nothing to wait for
    return flags


def send_listener(path: str, state: ContainerProcessState, listener: int) -> None:
    """Send the listener to the agent at a socket path, with the container's state. Raises ContainerError."""
    try:
        agent = sockets.connect(path)
        try:
            sockets.send_fds(agent, state.to_json().encode(), [listener])
        finally:
            os.close(agent)
    except OSError as error:
        why = f"failed to connect with seccomp agent {path}: {error.strerror} ({ROOT}.listenerPath)"
        raise ContainerError(why, step="send_listener", errno=error.errno or 0) from error


def _check_notifying(index: int, rule: Syscall) -> None:
    for name in _NEEDED_TO_HAND_OVER:
        if name in rule.names:
            why = (
                f"SCMP_ACT_NOTIFY cannot be used for the {name} syscall: the listener is handed over with it"
            )
            raise SpecError(f"{ROOT}.syscalls[{index}].names", why)


def _compile(profile: Seccomp) -> bytes:
    default = _action(profile.default_action, profile.default_errno_ret)
    architectures = [name.removeprefix("SCMP_ARCH_").lower() for name in profile.architectures]
    rules = [
        kernel.Rule(
            rule.names,
            _action(rule.action, rule.errno_ret),
            [(arg.index, _OPERATORS[arg.op], arg.value, arg.value_two) for arg in rule.args],
        )
        for rule in profile.syscalls
    ]
    try:
        return kernel.compile_filter(default, architectures, rules)
    except OSError as error:
        raise ContainerError(
            f"{ROOT}: {describe(error)}", step="compile_seccomp", errno=error.errno or 0
        ) from error


def _action(name: str, errno_ret: int | None) -> int:
    action = _ACTIONS[name]
    if action in (kernel.ERRNO, kernel.TRACE):
        return action | (_EPERM if errno_ret is None else errno_ret)
    return action


def _open_cache(root: str) -> Fd | None:
    """Open the folder of kept programs; None if there is none that only we can use."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    path = f"{root}/seccomp"
    try:
        folder = Fd(os.open(path, flags))
    except FileNotFoundError:
        try:
            os.makedirs(root, 0o711, exist_ok=True)
            os.mkdir(path, 0o700)
            folder = Fd(os.open(path, flags))
        except OSError:
            return None
    except OSError:
        return None
    status = os.fstat(folder.fileno())
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        folder.close()
        return None
    return folder


def _lookup(folder: int, key: str) -> bytes | None:
    """Read a kept program, if the installed libseccomp compiled it."""
    try:
        fd = os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno != ENOENT:
            raise
        return None
    try:
        content = os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)
    heading, _, program = content.partition(b"\n")
    path, _, identity = heading.decode(errors="replace").partition(" ")
    return program if program and identity == _identity(path) else None


def _store(folder: int, key: str, program: bytes) -> None:
    """Keep a program; it gets its name once it is complete."""
    path = _library_path()
    if not path:
        return
    partial = f"{key}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(partial, flags, 0o400, dir_fd=folder)
    except OSError as error:
        if error.errno != EEXIST:
            return  # read-only or full: it is compiled again the next time
        os.unlink(partial, dir_fd=folder)  # left by a killed process with our pid
        return
    try:
        write_all(fd, f"{path} {_identity(path)}\n".encode() + program, partial)
        os.rename(partial, key, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        os.unlink(partial, dir_fd=folder)
    finally:
        os.close(fd)


def _library_path() -> str:
    """Return where the libseccomp in this process was loaded from."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            if "/libseccomp.so" in line:
                return line.split(maxsplit=5)[5].rstrip("\n")
    return ""


def _identity(path: str) -> str:
    """Return an identifier of a library's build, without opening the library."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
