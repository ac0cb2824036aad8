"""Bad input on the command line and in bundles: one clear line, status 1, nothing left behind.

What would be left (folders, cgroups, mounts, processes) is looked for after every test by the leak guard.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.runtime import Runtime

Edit = Callable[[Bundle], None]


def setting(path: str, value: Any) -> Edit:
    """Change one member of config.json, named by its path such as process.args."""

    def edit(bundle: Bundle) -> None:
        target: Any = bundle.config
        *parents, last = path.split(".")
        for name in parents:
            target = target[name]
        target[last] = value

    return edit


def without(name: str) -> Edit:
    """Take a file away from the bundle."""

    def edit(bundle: Bundle) -> None:
        (bundle.path / name).rename(bundle.path / "elsewhere")

    return edit


def with_file(name: str, content: bytes, mode: int = 0o755) -> Edit:
    """Put a file into the root, to be the program."""

    def edit(bundle: Bundle) -> None:
        (bundle.rootfs / name.lstrip("/")).write_bytes(content)
        (bundle.rootfs / name.lstrip("/")).chmod(mode)
        bundle.process["args"] = [name]

    return edit


MISTAKES: dict[str, tuple[Edit, str]] = {
    "no config.json": (without("config.json"), "config.json not found"),
    "no rootfs": (without("rootfs"), "rootfs {bundle}/rootfs does not exist ($.root.path)"),
    "a number for args": (setting("process.args", 5), "$.process.args: must be an array, not a number"),
    "a text among numbers": (
        setting("process.user.additionalGids", [1, "2"]),
        "$.process.user.additionalGids[1]: must be an integer, not a string",
    ),
    "no args": (setting("process.args", []), "$.process.args: must name a program"),
    "unknown namespace": (
        setting("linux.namespaces", [{"type": "net"}]),
        '$.linux.namespaces[0].type: "net" is not one of mount, pid, network',
    ),
    "root outside": (setting("root.path", "../rootfs"), "$.root.path: must not leave the bundle"),
    "version": (setting("ociVersion", "2.0.0"), "$.ociVersion: version 2.0.0 is not supported, only 1.x"),
    "escaping cgroup": (setting("linux.cgroupsPath", "/../x"), "$.linux.cgroupsPath: must not contain .."),
    "host sysctl": (
        setting("linux.sysctl", {"kernel.panic": "1"}),
        '$.linux.sysctl["kernel.panic"]: is not in a namespace; it would change the host',
    ),
    "program not found": (
        setting("process.args", ["nowhere"]),
        'exec: "nowhere": executable file not found in $PATH',
    ),
    "path not found": (setting("process.args", ["/nowhere"]), "no such file or directory"),
    "not executable": (with_file("/plain", b"\x7fELF", 0o644), 'exec: "/plain": permission denied'),
    "neither native nor wasm": (
        with_file("/odd", b"GIF89a"),
        "cannot execute /odd: not an ELF file, a script, or WebAssembly (",
    ),
    "truncated module": (with_file("/cut.wasm", b"\0asm\x01\0"), "cannot execute /cut.wasm: "),
    "cwd of a file": (setting("process.cwd", "/bin/sh"), "chdir to cwd ('/bin/sh')"),
    "namespace path": (
        setting("linux.namespaces", [{"type": "pid", "path": "/nowhere"}, {"type": "uts"}]),
        "/nowhere: No such file or directory ($.linux.namespaces[0].path)",
    ),
    "failing hook": (
        setting("hooks", {"createRuntime": [{"path": "/bin/false"}]}),
        "error running createRuntime hook #0: /bin/false: exit status 1",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("command", ["create", "run"])
def test_a_mistake_in_a_bundle_is_one_line_that_names_it(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path, mistake: str, command: str
) -> None:
    edit, message = MISTAKES[mistake]
    made = bundle(["true"])
    edit(made)
    if (made.path / "config.json").exists():
        made.write()
    log = folder / "log.json"
    options = ("--log", str(log), "--log-format", "json")
    refused = runwasi(command, "--bundle", made.path, container_id, check=False, options=options)
    assert refused.returncode == 1
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"runwasi: {command} {container_id}: ")
    assert message.format(bundle=made.path) in line
    (record,) = (json.loads(text) for text in log.read_text().splitlines())
    assert (record["level"], f"runwasi: {record['msg']}") == ("error", line)
    assert not runwasi.root.exists() or os.listdir(runwasi.root) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "$: is not JSON: no value at the end of the text"),
        (b'{"ociVersion": "1.0.0"', "$: is not JSON: "),
        (b"[]", "$: must be an object, not an array"),
        (b"null", "$: must be an object, not null"),
        (b"\xff\xfe{}", "$: is not UTF-8 at byte 0"),
        (b"[" * 100_000, "$: is nested too deeply"),
        (b'{"x": "' + b"y" * (5 << 20) + b'"}', "$: is larger than 4 MiB"),
    ],
    ids=["empty", "truncated", "array", "null", "UTF-16", "deep", "large"],
)
def test_a_config_that_is_none_is_refused(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, text: bytes, message: str
) -> None:
    made = bundle(["true"])
    (made.path / "config.json").write_bytes(text)
    refused = runwasi("run", "--bundle", made.path, container_id, check=False)
    assert refused.returncode == 1
    assert message in refused.stderr


def test_a_config_that_is_a_fifo_is_refused_and_not_waited_for(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    (made.path / "config.json").unlink()
    os.mkfifo(made.path / "config.json")
    refused = runwasi("create", "--bundle", made.path, container_id, check=False)
    assert refused.stderr == f"runwasi: create {container_id}: {made.path}/config.json: not a regular file\n"


def test_a_config_elsewhere_may_come_through_a_pipe(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["echo", "piped"])
    config = (made.path / "config.json").read_bytes()
    (made.path / "config.json").unlink()
    words = ("run", "--bundle", made.path, "--config", "/dev/stdin", container_id)
    assert runwasi(*words, stdin=config).stdout == "piped\n"


@pytest.mark.parametrize("words", [("update", "-r"), ("exec", "--process")])
def test_a_bad_document_is_named_by_its_file(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path, words: tuple[str, str]
) -> None:
    Detached(runwasi, bundle(["sleep", "100"]), container_id).run()
    (folder / "document.json").write_text("{")
    refused = runwasi(*words, folder / "document.json", container_id, check=False)
    said = f"runwasi: {words[0]} {container_id}: {folder}/document.json: $: is not JSON: "
    assert refused.stderr.startswith(said)


def test_a_pid_file_that_is_none_is_left_alone_and_the_container_undone(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    os.mknod(folder / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    words = ("create", "--pid-file", folder / "full", "--bundle", bundle(["true"]).path, container_id)
    refused = runwasi(*words, check=False)
    assert refused.returncode == 1
    assert f"{folder}/full: what is there is not a regular file" in refused.stderr
    assert (folder / "full").is_char_device()
    assert os.listdir(runwasi.root) == []


def test_a_bundle_that_does_not_exist_is_named(runwasi: Runtime, folder: Path, container_id: str) -> None:
    refused = runwasi("create", "--bundle", folder / "none", container_id, check=False)
    assert refused.stderr == (f"runwasi: create {container_id}: bundle {folder}/none: no such directory\n")


@pytest.mark.parametrize("bad", ["", "..", "a/b", "x" * 2000, "a b", "é", "a\nb"])
def test_a_bad_id_is_refused(runwasi: Runtime, bundle: BundleMaker, bad: str) -> None:
    for command in (["run", "--bundle", str(bundle(["true"]).path)], ["state"], ["delete", "--force"]):
        refused = runwasi(*command, bad, check=False)
        assert refused.returncode == 1
        assert "container id" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1 or "\n" in bad
        assert len(refused.stderr) < 5000


def test_a_state_root_that_is_no_folder_is_named(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    runwasi.root.write_text("")
    refused = runwasi("run", "--bundle", bundle(["true"]).path, container_id, check=False)
    assert refused.returncode == 1
    assert f"state root {runwasi.root}: " in refused.stderr
    runwasi.root.unlink()


def test_a_terminal_nobody_would_get_is_refused(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    made.process["terminal"] = True
    made.write()
    refused = oci_runtime("create", "--bundle", made.path, container_id, check=False)
    assert refused.returncode == 1
    assert "cannot allocate tty if" in refused.stderr
    assert "without setting console socket" in refused.stderr


def test_a_console_socket_without_a_terminal_is_refused(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    words = ["create", "--console-socket", str(folder / "socket"), "--bundle", str(bundle(["true"]).path)]
    refused = oci_runtime(*words, container_id, check=False)
    assert refused.returncode == 1
    assert "cannot use console socket if" in refused.stderr


def test_a_console_socket_nobody_listens_on_is_named(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    made = bundle(["true"])
    made.process["terminal"] = True
    made.write()
    words = ["create", "--console-socket", str(folder / "socket"), "--bundle", str(made.path)]
    refused = runwasi(*words, container_id, check=False)
    assert refused.returncode == 1
    assert f"connect {folder}/socket: No such file or directory" in refused.stderr


def test_a_descriptor_that_is_not_open_cannot_be_preserved(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    refused = runwasi("run", "--preserve-fds", "1", "--bundle", made.path, container_id, check=False)
    assert refused.returncode == 1
    assert "unable to stat preserved-fd" in refused.stderr
