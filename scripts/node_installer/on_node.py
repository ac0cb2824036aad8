"""Installs runwasi on a Kubernetes node, or takes it away again; node_installer.c calls it in the image.

    on_node.py install    the bundle and its programs below PREFIX, systemd's units, containerd's configuration
    on_node.py leave      takes all of it back if the node has lost its label

The bundle's own interpreter runs this: the image has no other files, and the node may have no Python. The node's
root is mounted at /host. PREFIX and TARGET (containerd or k3s) come from the environment, and NODE_NAME, which
names the node to the API server.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_BUNDLE, _NODE = "/bundle", "/host"
_KEPT = "lib/runwasi/bundle"  # below the prefix, and beside the versions that are linked from it
_UNDER_WAY, _FORMER = ".new", ".old"  # suffixes of the bundle while another takes its place
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_LABEL, _ENGINE = "runwasi.io/engine", "wasmtime"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 20
_FORBIDDEN = (401, 403)  # the account went with the namespace


def install(prefix: str, target: str) -> None:
    """Install all, and restart containerd if it changes. Raises CalledProcessError, OSError."""
    _copy_bundle(f"{_NODE}{prefix}")
    _enter_node()
    _bundle(prefix, "add", prefix, "--share")
    try:
        _runwasi(prefix, "install", [*_units(), target], "--shared")
    except subprocess.CalledProcessError:
        # A node whose containerd does not start has no pods, and nobody who would mend it. The units harm nobody.
        _runwasi(prefix, "uninstall", [target])
        raise


def leave(prefix: str, target: str) -> None:
    """Take all of it back if the node has lost its label. Raises CalledProcessError, OSError."""
    if _has_label():
        print("node-installer: the node keeps runwasi, as it keeps its label")
        return
    _enter_node()
    bundle = f"{prefix}/{_KEPT}"
    _settle(bundle)
    if os.path.exists(f"{prefix}/bin/runwasi"):
        _runwasi(prefix, "uninstall", [target, *_units()])
    if os.path.exists(bundle):
        _bundle(prefix, "remove", prefix, "--share")
        os.rename(bundle, bundle + _UNDER_WAY)  # nobody takes what is left of it for a bundle
        shutil.rmtree(bundle + _UNDER_WAY)
    _remove_empty(f"{prefix}/lib/runwasi")
    if f"{prefix}/bin" not in _PATH.split(":"):  # then it is nobody else's
        _remove_empty(f"{prefix}/bin", f"{prefix}/lib", prefix)


def _copy_bundle(prefix: str) -> None:
    """Copy the image's bundle to the node, unless it is there. What was linked from another one stays.

    Whenever this is killed, the node has a whole bundle or none, and _settle removes the rest.
    """
    bundle = f"{prefix}/{_KEPT}"
    _settle(bundle)
    if _name_of(bundle) == _name_of(_BUNDLE):
        return
    os.makedirs(os.path.dirname(bundle), exist_ok=True)
    shutil.copytree(_BUNDLE, bundle + _UNDER_WAY, symlinks=True)
    if os.path.exists(bundle):
        os.rename(bundle, bundle + _FORMER)
    os.rename(bundle + _UNDER_WAY, bundle)
    _settle(bundle)


def _settle(bundle: str) -> None:
    """Remove what a copy has left behind; one that was killed between its renames gets its former bundle back."""
    if os.path.exists(bundle + _FORMER) and not os.path.exists(bundle):
        os.rename(bundle + _FORMER, bundle)
    for folder in (bundle + _UNDER_WAY, bundle + _FORMER):
        if os.path.exists(folder):
            shutil.rmtree(folder)


def _name_of(bundle: str) -> str:
    try:
        with open(f"{bundle}/NAME", encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _enter_node() -> None:
    """Make the node's root ours: from here on, paths and programs are the node's."""
    os.chroot(_NODE)
    os.chdir("/")


def _bundle(prefix: str, *words: str) -> None:
    """Call the bundle's installer with its own interpreter; not `install`, which wants a shell."""
    bundle = f"{prefix}/{_KEPT}"
    python = f"{bundle}/version/python"
    program = f"{python}/bin/python3"
    command = [f"{python}/lib/ld.so", "--library-path", f"{python}/lib", "--argv0", program, program]
    _run([*command, "-ISB", f"{bundle}/installer/run.py", *words])


def _units() -> list[str]:
    """Return the target that puts the node daemon under systemd, where that runs."""
    return ["units"] if os.path.isdir("/run/systemd/system") else []


def _runwasi(prefix: str, verb: str, targets: Sequence[str], *options: str) -> None:
    """Install or uninstall targets, in their order."""
    where = ["--bin", f"{prefix}/bin"]
    _run([f"{prefix}/bin/runwasi", verb, *targets, *where, *options, "--write", "--restart"])


def _run(command: Sequence[str]) -> None:
    # systemctl does nothing in a root that it takes for another one than that of the first process.
    environment = {**os.environ, "PATH": _PATH, "SYSTEMD_IGNORE_CHROOT": "1"}
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=True)


def _remove_empty(*folders: str) -> None:
    """Remove folders as far as they are empty: a version that pods still run from stays."""
    for folder in folders:
        if os.path.isdir(folder) and not os.listdir(folder):
            os.rmdir(folder)


def _has_label() -> bool:
    """Ask the API server for the node's label; who may not ask keeps what there is. Raises OSError."""
    try:
        labels = _node()["metadata"].get("labels", {})
    except urllib.error.HTTPError as error:
        if error.code in _FORBIDDEN:
            print(f"node-installer: the API server does not tell: {error}", file=sys.stderr)
            return True
        if error.code == 404:  # the node has left the cluster
            return False
        raise
    return bool(labels.get(_LABEL) == _ENGINE)


def _node() -> dict[str, dict[str, dict[str, str]]]:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    address = f"[{host}]" if ":" in host else host
    url = f"https://{address}:{port}/api/v1/nodes/{os.environ['NODE_NAME']}"
    with open(f"{_ACCOUNT}/token", encoding="utf-8") as file:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {file.read().strip()}"})
    trusted = ssl.create_default_context(cafile=f"{_ACCOUNT}/ca.crt")
    with urllib.request.urlopen(request, timeout=_SECONDS, context=trusted) as answer:
        node: dict[str, dict[str, dict[str, str]]] = json.load(answer)
        return node


def main() -> None:
    """Do the step that is named; exit with a message on failure, upon which the caller tries again."""
    step = {"install": install, "leave": leave}[sys.argv[1]]
    try:
        step(os.environ["PREFIX"], os.environ["TARGET"])
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # it has said why
    except OSError as error:
        sys.exit(f"node-installer: {sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()
