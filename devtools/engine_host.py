"""Runs one module with one engine in this process, as a container's process would, without the container.

Called with one argument, a JSON object: engine, module (path), args, and optionally env, cwd, function,
annotations, memory_limit, address_space (bytes), root (a folder to chroot into), cache (a module cache's root,
so that an artefact is used), layers (paths of modules to link with).
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

from runwasi.engines import registry
from runwasi.engines.engine import EXIT_REFUSED, EXIT_TRAP, Context, EngineError, Module, Stdio, Trap
from runwasi.engines.module_cache import ModuleCache
from runwasi.engines.wasm.sniff import SNIFF_SIZE, sniff
from runwasi.executor.workload.compiler import compile_module


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
    return engine.run_wasi(ctx, Stdio())


if __name__ == "__main__":
    main()
