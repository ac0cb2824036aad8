"""Runs a container's module as a package in a sandbox of wasmer-sdk, which this imports (60 ms)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from threading import Thread

from wasmer_sdk import ProcessExitError, Wasmer, WasmerError  # type: ignore[import-not-found, unused-ignore]

from runwasi.engines.annotations import NETWORK
from runwasi.engines.engine import EngineError, Trap
from runwasi.engines.guest_limits import folders_of_root, preopens_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from runwasi.engines.engine import Context

SCRATCH_FOLDERS = ("/dev/shm", "/tmp", "/run", "/")
"""Folders of the container for the package while it loads; the first writable one is used."""

OWN_FOLDERS = frozenset(("/dev",))
"""Folders of the root that every sandbox already has."""

_CHUNK = 64 << 10

_MANIFEST = """\
[package]
name = "runwasi/module"
version = "0.0.0"
description = "The module of a container"
[[module]]
name = "module"
source = "module.wasm"
abi = "wasi"
[[command]]
name = "module"
module = "module"
runner = "https://webc.org/runner/wasi"
[command.annotations.wasi]
atom = "module"
exec-name = {argv0}
[fs]
{folders}
"""


def run(ctx: Context, binary: bytes) -> int:
    """Run the module to its end, and return its exit status. Raises Trap, EngineError."""
    try:
        return asyncio.run(_run(ctx, binary))
    except (WasmerError, ProcessExitError) as error:
        what, *frames = str(error).splitlines()
        reason = what.removeprefix("command execution failed: ").removeprefix("RuntimeError: ")
        if frames:
            raise Trap(reason, [frame.strip().removeprefix("at ") for frame in frames]) from None
        raise EngineError(reason) from None


async def _run(ctx: Context, binary: bytes) -> int:
    folder = _scratch_folder()
    try:
        process = await _spawn(ctx, binary, folder)
    finally:
        shutil.rmtree(folder)
    Thread(target=_feed, args=(process.stdin, asyncio.get_running_loop()), daemon=True).start()
    await asyncio.gather(_copy(process.stdout, 1), _copy(process.stderr, 2))
    return int((await process.wait()).exit_code) & 0xFF


async def _spawn(ctx: Context, binary: bytes, folder: Path) -> Any:
    """Start the module; afterwards nothing in `folder` is needed, not even the library's cache."""
    (folder / "module.wasm").write_bytes(binary)
    (folder / "wasmer.toml").write_text(_manifest(ctx))
    client = Wasmer(cache_root=folder / "cache")
    package = await client.packages.load(folder)
    network = "host" if NETWORK.of(ctx.annotations) else "disabled"
    sandbox = await client.sandboxes.create(packages=[package], network=network)
    environment = dict(entry.partition("=")[::2] for entry in ctx.env)
    return await sandbox.command(package, ctx.args[1:], cwd=ctx.cwd, env=environment).spawn(stdin="pipe")


def _scratch_folder() -> Path:
    for parent in SCRATCH_FOLDERS:
        folder = Path(parent, f"runwasi-{os.urandom(8).hex()}")
        try:
            folder.mkdir(mode=0o700)
        except OSError:
            continue
        return folder
    raise EngineError(
        f"the wasmer engine needs one of these folders to be writable: {', '.join(SCRATCH_FOLDERS)}"
    )


def _manifest(ctx: Context) -> str:
    """Return the package's manifest; JSON's strings are TOML's basic strings."""
    folders = [f"{json.dumps(guest)} = {json.dumps(folder)}" for folder, guest in _folders(ctx)]
    return _MANIFEST.format(argv0=json.dumps(ctx.args[0]), folders="\n".join(folders))


def _folders(ctx: Context) -> list[tuple[str, str]]:
    """Return the guest's (folder, guest's name)s; the root folder by folder, as the whole root would not be live."""
    wanted = dict.fromkeys(preopens_of(ctx))
    if ("/", "/") in wanted:
        del wanted["/", "/"]
        wanted.update(dict.fromkeys((folder, folder) for folder in folders_of_root()))
    return [(folder, guest) for folder, guest in wanted if guest not in OWN_FOLDERS]


def _feed(stdin: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Copy this process's stdin to the guest's, in a thread: asyncio cannot wait for both terminals and files."""
    try:
        while chunk := os.read(0, _CHUNK):
            asyncio.run_coroutine_threadsafe(stdin.write(chunk), loop).result()
        asyncio.run_coroutine_threadsafe(stdin.close(), loop).result()
    except Exception:  # noqa: BLE001  the guest ended first, which the SDK and the loop report in many ways
        return


async def _copy(stream: AsyncIterator[bytes], fd: int) -> None:
    async for chunk in stream:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(fd, rest) :]
