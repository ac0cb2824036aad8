"""Hooks as a command line runs them: when, where, with what, and what becomes of the container when one fails.

Source: runtime-spec runtime.md#lifecycle and config.md#posix-platform-hooks.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from devtools.bundle import Bundle
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached, wait_for_exit
from tests.support.runtime import Runtime

CREATE = ("prestart", "createRuntime", "createContainer")
KINDS = (*CREATE, "startContainer", "poststart", "poststop")
INSIDE = ("createContainer", "startContainer")

Json = Any


def notes(bundle: Bundle) -> Path:
    """The folder that hooks leave files in, which is /tmp/notes for those inside."""
    folder = bundle.rootfs / "tmp/notes"
    folder.mkdir(exist_ok=True)
    return folder


def shell(bundle: Bundle, kind: str, script: str, **more: Json) -> Json:
    """A hook that runs a script; $NOTES in it is the folder of notes."""
    folder = "/tmp/notes" if kind == "startContainer" else str(notes(bundle))
    return {
        "path": "/bin/sh",
        "args": ["sh", "-c", script],
        "env": [f"NOTES={folder}", "PATH=/bin:/usr/bin:/sbin"],
    } | more


def every_kind(bundle: Bundle, script: str) -> None:
    """Have the script run at each point of the container's life; $KIND in it says which."""
    bundle.config["hooks"] = {kind: [shell(bundle, kind, f"KIND={kind}; {script}")] for kind in KINDS}
    bundle.write()


def noted(bundle: Bundle, name: str) -> str:
    """Return a hook's notes, "" if it did not run."""
    path = notes(bundle) / name
    return path.read_text() if path.exists() else ""


def live(runtime: Runtime, bundle: Bundle, container_id: str) -> Detached:
    """Take a container from create to delete; returns what it was."""
    container = Detached(runtime, bundle, container_id)
    container.create()
    (notes(bundle) / "pid").write_text(str(container.pid))
    runtime("start", container_id)
    container.wait()
    runtime("delete", container_id)
    return container


def test_hooks_run_in_their_order_around_the_program(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    """Not runc 1.1, which runs poststart hooks before the start."""
    made = bundle(["sh", "-c", "echo program >> /tmp/notes/order"])
    every_kind(made, "echo $KIND >> $NOTES/order")
    for kind in KINDS:
        made.config["hooks"][kind].append(shell(made, kind, f"echo second {kind} >> $NOTES/order"))
    ran = shell(made, "poststart", "until grep -q program $NOTES/order; do :; done", timeout=30)
    made.config["hooks"]["poststart"].insert(0, ran)  # it begins beside the program
    live(runwasi, made.write(), container_id)
    expected = [line for kind in KINDS for line in (kind, f"second {kind}")]
    expected.insert(expected.index("poststart"), "program")
    assert noted(made, "order").splitlines() == expected


def test_each_kind_runs_in_the_namespaces_it_belongs_to(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    every_kind(made, "for ns in mnt net pid; do readlink /proc/self/ns/$ns; done > $NOTES/$KIND")
    live(oci_runtime, made, container_id)
    ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "net", "pid")]
    seen = {kind: noted(made, kind).split() for kind in KINDS}
    assert [kind for kind in KINDS if seen[kind] == ours] == [kind for kind in KINDS if kind not in INSIDE]
    assert not {*seen["createContainer"]} & {*ours}
    assert seen["createContainer"] == seen["startContainer"]


def test_the_state_on_stdin_fits_the_moment_and_the_place(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["sleep", "100"])
    made.config["annotations"] = {"some.key": "some value"}
    every_kind(made, "cat > $NOTES/$KIND")
    container = Detached(runwasi, made, container_id)
    container.create()
    pid = container.pid
    runwasi("start", container_id)
    runwasi("delete", "--force", container_id)
    states = {kind: json.loads(noted(made, kind)) for kind in KINDS}
    for state in states.values():
        assert state["id"] == container_id
        assert state["ociVersion"] == "1.0.2"
        assert state["bundle"] == str(made.path)
        assert state["annotations"] == {"some.key": "some value"}
    assert [states[kind]["status"] for kind in KINDS] == [*["created"] * 4, "running", "stopped"]
    assert [states[kind]["pid"] for kind in KINDS] == [
        pid,
        pid,
        1,
        1,
        pid,
        0,
    ]  # runtime.md#state: as seen there


def test_a_hook_gets_its_own_arguments_and_environment_only(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    script = made.path / "script"
    script.write_text(f"#!/bin/sh\ntr '\\0' ' ' < /proc/$$/cmdline > {notes(made)}/without\n")
    script.chmod(0o755)
    body = f"echo $0 > {notes(made)}/name; tr '\\0' '\\n' < /proc/$$/environ > {notes(made)}/environment"
    hook = {"path": "/bin/sh", "args": ["a name", "-c", body], "env": ["ONE=1", "EMPTY=", "TWO=a=b"]}
    made.config["hooks"] = {"createRuntime": [hook, {"path": str(script)}]}
    os.environ["LEAKED"] = "yes"
    oci_runtime("run", "--bundle", made.write().path, container_id)
    del os.environ["LEAKED"]
    assert noted(made, "name") == "a name\n"
    assert sorted(noted(made, "environment").splitlines()) == ["EMPTY=", "ONE=1", "TWO=a=b"]
    assert noted(made, "without") == f"/bin/sh {script} "


def test_a_hook_without_an_environment_gets_ours_and_an_empty_one_is_empty(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundle(["true"])

    def listing(name: str) -> list[str]:
        return ["sh", "-c", f"tr '\\0' '\\n' < /proc/$$/environ > {notes(made)}/{name}"]

    made.config["hooks"] = {
        "createRuntime": [
            {"path": "/bin/sh", "args": listing("ours")},
            {"path": "/bin/sh", "args": listing("empty"), "env": []},
        ]
    }
    monkeypatch.setenv("HANDED_DOWN", "a=b")
    oci_runtime("run", "--bundle", made.write().path, container_id)
    assert {"HANDED_DOWN=a=b", f"PATH={os.environ['PATH']}"} <= set(noted(made, "ours").splitlines())
    assert noted(made, "empty") == ""


def test_a_hook_inherits_three_descriptors(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["true"])
    every_kind(made, "echo /proc/self/fd/* > $NOTES/$KIND")
    live(runwasi, made, container_id)
    for kind in KINDS:
        descriptors = {path.rpartition("/")[2] for path in noted(made, kind).split()}
        assert {"0", "1", "2"} <= descriptors
        # the shell holds what it redirected, and the folder that it lists, by numbers of its own
        assert len(descriptors - {"0", "1", "2", "10"}) <= 1


def test_a_network_may_be_made_before_the_program_runs(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["ip", "link", "show", "made0"])
    script = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter -t $pid -n ip link add made0 type bridge"
    made.config["hooks"] = {"createRuntime": [shell(made, "createRuntime", script)]}
    assert "made0" in oci_runtime("run", "--bundle", made.write().path, container_id).stdout


def test_a_mount_may_be_added_to_the_containers_root(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    """By its host path, and by a relative one: createContainer hooks stand in the root, as those of runc do."""
    made = bundle(["ls", "/root"])
    (made.rootfs / "root/covered").touch()
    script = f"mount -t tmpfs none {made.rootfs}/root && touch root/added"
    made.config["hooks"] = {"createContainer": [shell(made, "createContainer", script)]}
    assert oci_runtime("run", "--bundle", made.write().path, container_id).stdout == "added\n"
    assert os.listdir(made.rootfs / "root") == ["covered"]


def test_much_output_does_not_stop_a_hook(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    every_kind(made, "yes | head -c 300000; yes | head -c 300000 >&2; echo done > $NOTES/$KIND")
    live(oci_runtime, made, container_id)
    assert [noted(made, kind) for kind in KINDS] == ["done\n"] * len(KINDS)


@pytest.mark.parametrize("failing", CREATE)
def test_a_failure_during_create_undoes_it_and_runs_the_poststop_hooks(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, failing: str
) -> None:
    made = bundle(["sh", "-c", "echo program >> /tmp/notes/order"])
    every_kind(made, "echo $KIND >> $NOTES/order")
    script = f"echo {failing} >> $NOTES/order; echo its reason; exit 3"
    made.config["hooks"][failing] = [shell(made, failing, script)]
    made.config["hooks"]["poststop"].append(shell(made, "poststop", "cat > $NOTES/state"))
    refused = oci_runtime("create", "--bundle", made.write().path, container_id, check=False)
    assert refused.returncode == 1
    assert "exit status 3" in refused.stderr
    assert "its reason" in refused.stderr
    assert "container does not exist" in oci_runtime("state", container_id, check=False).stderr
    assert noted(made, "order").split() == [*CREATE[: CREATE.index(failing) + 1], "poststop"]
    assert json.loads(noted(made, "state"))["status"] == "stopped"


def test_a_refusal_after_the_hooks_runs_the_poststop_hooks_too(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["/no/such/program"])
    every_kind(made, "echo $KIND >> $NOTES/order")
    assert oci_runtime("create", "--bundle", made.path, container_id, check=False).returncode == 1
    assert noted(made, "order").split() == [*CREATE, "poststop"]


def test_a_failure_before_the_first_hook_runs_no_hook(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    """The environment was never made, so nothing may have happened: runtime.md#errors."""
    made = bundle(["true"])
    every_kind(made, "echo $KIND >> $NOTES/order")
    made.config["mounts"].append(
        {"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]}
    )
    refused = runwasi("create", "--bundle", made.write().path, container_id, check=False)
    assert "$.mounts[6].source" in refused.stderr
    assert noted(made, "order") == ""


@pytest.mark.parametrize("failing", ["startContainer", "poststart"])
def test_a_failure_at_start_ends_the_container(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, failing: str
) -> None:
    made = bundle(["sh", "-c", "echo program >> /tmp/notes/order; exec sleep 100"])
    every_kind(made, "echo $KIND >> $NOTES/order")
    made.config["hooks"][failing] = [shell(made, failing, "exit 3")]
    container = Detached(runwasi, made.write(), container_id)
    container.create()
    pid = container.pid
    refused = runwasi("start", container_id, check=False)
    assert refused.returncode == 1
    assert f"error running {failing} hook #0: /bin/sh: exit status 3" in refused.stderr
    wait_for_exit(pid)
    assert "container does not exist" in runwasi("state", container_id, check=False).stderr
    assert ("program" in noted(made, "order").split()) <= (failing == "poststart")
    assert noted(made, "order").split()[-1] == "poststop"


@pytest.mark.parametrize("failing", ["startContainer", "poststart"])
def test_a_failure_at_start_ends_a_run(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, failing: str
) -> None:
    made = bundle(["sleep", "100"])
    every_kind(made, "echo $KIND >> $NOTES/order")
    made.config["hooks"][failing] = [shell(made, failing, "exit 3")]
    refused = oci_runtime("run", "--bundle", made.write().path, container_id, check=False)
    assert refused.returncode == 1
    assert "exit status 3" in refused.stderr
    assert noted(made, "order").split()[-1] == "poststop"
    assert "container does not exist" in oci_runtime("state", container_id, check=False).stderr


def test_a_failing_poststop_hook_is_a_warning(
    runwasi: Runtime, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(["true"])
    failing, next_one = (shell(made, "poststop", script) for script in ("exit 3", "touch $NOTES/next"))
    made.config["hooks"] = {"poststop": [failing, next_one]}
    warned = runwasi("run", "--bundle", made.write().path, container_id)
    assert "level=warning" in warned.stderr
    assert "error running poststop hook #0: /bin/sh: exit status 3" in warned.stderr
    assert (notes(made) / "next").exists()
    made.config["hooks"]["createRuntime"] = [shell(made, "createRuntime", "exit 4")]
    refused = runwasi("create", "--bundle", made.write().path, container_id, check=False)
    assert refused.returncode == 1
    assert "poststop hook #0: /bin/sh: exit status 3" in refused.stderr
    assert "createRuntime hook #0: /bin/sh: exit status 4" in refused.stderr


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "startContainer"])
def test_a_hook_that_takes_too_long_is_killed_and_fails(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, kind: str
) -> None:
    made = bundle(["true"])
    script = "echo $$ > $NOTES/pid; exec sleep 100"
    made.config["hooks"] = {kind: [shell(made, kind, script, timeout=1)]}
    refused = runwasi("run", "--bundle", made.write().path, container_id, check=False, timeout=20)
    assert refused.returncode == 1
    assert "timed out after 1 s" in refused.stderr
    if kind == "createRuntime":
        assert not os.path.exists(f"/proc/{noted(made, 'pid').strip()}")


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ({"path": "bin/true"}, '.path: must be an absolute path, not "bin/true"'),
        ({"path": "/bin/true", "timeout": 0}, ".timeout: must be between 1 and "),
        ({"path": "/bin/true", "args": "x"}, ".args: must be an array, not a string"),
        ({"args": ["x"]}, ".path: is required"),
    ],
    ids=["relative", "no time", "args", "no path"],
)
def test_a_hook_that_cannot_be_one_is_refused_before_anything_is_made(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, hook: Json, message: str
) -> None:
    made = bundle(["true"])
    for kind in KINDS:
        made.config["hooks"] = {kind: [{"path": "/bin/true"}, hook]}
        refused = runwasi("create", "--bundle", made.write().path, container_id, check=False)
        assert refused.returncode == 1
        assert f"$.hooks.{kind}[1]{message}" in refused.stderr
    assert not runwasi.root.exists()


def test_a_program_that_is_missing_is_named(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["true"])
    for kind in KINDS[:-1]:
        made.config["hooks"] = {kind: [{"path": "/no/such/hook"}]}
        refused = runwasi("run", "--bundle", made.write().path, container_id, check=False)
        assert refused.returncode == 1
        assert f"error running {kind} hook #0: /no/such/hook: No such file" in refused.stderr
        assert f"($.hooks.{kind}[0].path)" in refused.stderr
