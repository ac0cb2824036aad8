"""Runs one module with one engine in this process, as a container's process would, without the container.

Called with one argument, a JSON object: engine, module (path), args, and optionally env, cwd, function,
annotations, memory_limit, address_space (bytes), root (a folder to chroot into), cache (a module cache's root,
so that an artefact is used), layers (paths of modules to link with).
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import resource
import sys
from typing import Any

from devtools.places import CACHE
from devtools.syscall_traces import put_label
from runwasi.engines import registry
from runwasi.engines.annotations import NETWORK
from runwasi.engines.engine import EXIT_REFUSED, EXIT_TRAP, Context, EngineError, Module, Stdio, Trap
from runwasi.engines.module_cache import ModuleCache
from runwasi.engines.wasm.sniff import SNIFF_SIZE, sniff
from runwasi.executor.process.seccomp_profile import compiled_from
from runwasi.executor.workload.compiler import compile_module
from runwasi.executor.workload.wasm_filter import FILTERS, profile, rules_of
from runwasi.linux import processes
from runwasi.linux.seccomp_filter import Filter, load_filter


def main() -> None:
    """Run it and end with its exit status; a refusal is on stderr and ends with 126."""
    job = json.loads(sys.argv[1])
    try:
        status = _run(job)
    except Trap as trap:
        os.write(2, trap.report().encode())
        status = EXIT_TRAP
    except EngineError as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        status = EXIT_REFUSED
    os._exit(status)


def _run(job: dict[str, Any]) -> int:
    engine = registry.load(job["engine"])
    annotations = job.get("annotations", {})
    engine.configure(annotations, job.get("address_space"))
    fd = os.open(job["module"], os.O_RDONLY)
    module = Module(os.path.basename(job["module"]), fd)
    if "cache" in job:
        module.precompiled_fd = compile_module(engine, fd, ModuleCache(job["cache"]), module.name)
    kind = sniff(os.pread(fd, SNIFF_SIZE, 0))
    engine.load(kind if kind in ("core", "component", "wat") else None)
    filters = _filters(engine.name)
    if "root" in job:
        os.chroot(job["root"])
        sys.path.clear()  # as in a container, nothing more can be imported
    if "address_space" in job:
        resource.setrlimit(resource.RLIMIT_AS, (job["address_space"],) * 2)
    ctx = Context(
        job["args"],
        module,
        env=job.get("env", ()),
        cwd=job.get("cwd", "/"),
        function=job.get("function", "_start"),
        layers=[Module(os.path.basename(path), os.open(path, os.O_RDONLY)) for path in job.get("layers", ())],
        annotations=annotations,
        memory_limit=job.get("memory_limit"),
    )
    os.chdir(ctx.cwd)
    engine.can_handle(ctx)
    engine.before_filter()
    _load_filter(engine.syscall_filter(), filters, network=NETWORK.of(annotations) and engine.makes_sockets())
    return engine.run_wasi(ctx, Stdio())


def _filters(engine: str) -> dict[tuple[str, bool], Filter]:
    """Compile the filters that this engine's runs may need, before their library is out of reach."""
    names = ["", *(name for name in FILTERS if name.startswith(engine))]
    found = {}
    for key in itertools.product(names, (True, False)):
        rules = rules_of(key[0], network=key[1])
        found[key] = compiled_from(rules, functools.partial(profile, rules), str(CACHE / "filters"))
    return found


def _load_filter(name: str, filters: dict[tuple[str, bool], Filter], *, network: bool) -> None:
    """Load the filter that the run has in a container, the widest where its system calls are recorded."""
    if put_label(name or "other"):
        name, network = "", True
    filter_ = filters[name if name in FILTERS else "", network]
    processes.set_no_new_privs()
    load_filter(filter_.program, filter_.flags)


if __name__ == "__main__":
    main()
