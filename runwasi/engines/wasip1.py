"""WASI preview 1 as all our engines offer it: the provided imports, and hints on who provides others."""

from __future__ import annotations

from runwasi.engines.engine import CannotHandle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from runwasi.engines.wasm.wasm_binary import Import, ModuleInterface

SNAPSHOT = "wasi_snapshot_preview1"

# fmt: off
FUNCTIONS = frozenset((
    "args_get", "args_sizes_get", "environ_get", "environ_sizes_get", "clock_res_get", "clock_time_get",
    "fd_advise", "fd_allocate", "fd_close", "fd_datasync", "fd_fdstat_get", "fd_fdstat_set_flags",
    "fd_fdstat_set_rights", "fd_filestat_get", "fd_filestat_set_size", "fd_filestat_set_times", "fd_pread",
    "fd_prestat_get", "fd_prestat_dir_name", "fd_pwrite", "fd_read", "fd_readdir", "fd_renumber", "fd_seek",
    "fd_sync", "fd_tell", "fd_write", "path_create_directory", "path_filestat_get", "path_filestat_set_times",
    "path_link", "path_open", "path_readlink", "path_remove_directory", "path_rename", "path_symlink",
    "path_unlink_file", "poll_oneoff", "proc_exit", "proc_raise", "random_get", "sched_yield", "sock_accept",
    "sock_recv", "sock_send", "sock_shutdown",
))
# fmt: on
"""Source: WASI/legacy/preview1/docs.md, plus sock_accept of its last revision."""

UNSTABLE = frozenset(f"wasi_unstable.{name}" for name in FUNCTIONS - {"sock_accept"})
"""The functions of preview 1's predecessor, by module and name, for engines that provide it too."""

_PROVIDERS = (
    # prefix of the imported module's name, and what would provide it
    ("wasi_unstable", "the predecessor of WASI preview 1: the wasmtime engine provides it"),
    ("wasix_", "WASIX: the wasmer engine provides it"),
    ("wasi_ephemeral_nn", "wasi-nn: the wasmedge engine with its wasi_nn plugin provides it"),
    ("wasi_nn", "wasi-nn: the wasmedge engine with its wasi_nn plugin provides it"),
    ("wasi_ephemeral_crypto", "wasi-crypto: the wasmedge engine with its wasi_crypto plugin provides it"),
    ("wasi:thread", "wasi-threads: no engine here provides it; build it without threads"),
    ("wasi", "no engine here provides it: it may be wasi-threads (module wasi, function thread-spawn)"),
    ("wbg", "wasm-bindgen, made for browsers: build it for wasm32-wasip1"),
    ("__wbindgen", "wasm-bindgen, made for browsers: build it for wasm32-wasip1"),
    ("go", "Go for browsers (GOOS=js): build it with GOOS=wasip1"),
    ("gojs", "Go for browsers (GOOS=js): build it with GOOS=wasip1"),
    ("env", "an undefined symbol at link time, or Emscripten's runtime: build it for wasm32-wasi"),
    ("a", "Emscripten's runtime in its minified form: build it with -sSTANDALONE_WASM"),
)
_SOCKET_EXTENSIONS = "WasmEdge's socket extension: the wasmedge engine provides it"


def check_interface(
    interface: ModuleInterface, function: str, *, also_provided: Container[str] = ()
) -> tuple[str, ...]:
    """Refuse a core module with an import that nobody provides, or without the function to call.

    `also_provided` holds an engine's additions: functions of wasi_snapshot_preview1, whole modules, and single
    imports as "module.name". Returns the functions to call, in order: a reactor's initialiser comes first, and
    for a module that is only a reactor it is the only one. Raises CannotHandle.
    """
    check_imports(interface, also_provided)
    initialize = ("_initialize",) if interface.exports.get("_initialize") == "function" else ()
    if initialize and function == "_start" and "_start" not in interface.exports:
        function = "_initialize"
    if interface.exports.get(function) != "function":
        raise CannotHandle(f"it exports no function {function} ({_functions(interface)})")
    if parameters := _parameters(interface, function):
        raise CannotHandle(f"its function {function} takes {parameters} arguments; it must take none")
    return initialize if function == "_initialize" else (*initialize, function)


def check_imports(interface: ModuleInterface, also_provided: Container[str] = ()) -> None:
    """Refuse a core module with an import that nobody provides, as check_interface does. Raises CannotHandle."""
    for wanted in interface.imports:
        if not _provided(wanted, also_provided):
            raise CannotHandle(
                f"it imports the {wanted.kind} {wanted.module}.{wanted.name}, which is not provided "
                f"({_provider(wanted)})"
            )


def _provided(wanted: Import, also_provided: Container[str]) -> bool:
    if wanted.module in also_provided or f"{wanted.module}.{wanted.name}" in also_provided:
        return True
    if wanted.module != SNAPSHOT or wanted.kind != "function":
        return False
    return wanted.name in FUNCTIONS or wanted.name in also_provided


def _provider(wanted: Import) -> str:
    if wanted.module == SNAPSHOT:
        if wanted.name.startswith("sock_"):
            return _SOCKET_EXTENSIONS
        return "WASI preview 1 has no such function"
    for prefix, provider in _PROVIDERS:
        if wanted.module == prefix or (len(prefix) > 4 and wanted.module.startswith(prefix)):
            return provider
    return f"only {SNAPSHOT} is"


def _functions(interface: ModuleInterface) -> str:
    names = [name for name, kind in interface.exports.items() if kind == "function"]
    if not names:
        return "it exports no function at all"
    shown = ", ".join(sorted(names)[:20])
    return f"it exports {shown}{f' and {len(names) - 20} more' if len(names) > 20 else ''}"


def _parameters(interface: ModuleInterface, function: str) -> int:
    """Return the number of parameters; 0 for `_start`, to avoid reading two sections at every start."""
    signature = None if function == "_start" else interface.signature(function)
    return signature.parameters if signature else 0
