"""Calls kubectl for tests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

Json = Any

_SECONDS = 150


class Kubectl:
    """kubectl for one cluster and one namespace."""

    def __init__(self, program: Path, kubeconfig: Path, namespace: str = "default") -> None:
        self._program = program
        self._kubeconfig = kubeconfig
        self.namespace = namespace

    def within(self, namespace: str) -> Kubectl:
        """The same for another namespace."""
        return Kubectl(self._program, self._kubeconfig, namespace)

    def __call__(
        self, *arguments: str | Path, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, with its output captured as text. Raises AssertionError if it fails."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if check and done.returncode != 0:
            said = f"{done.stdout}{done.stderr}{self._what_there_is()}"
            raise AssertionError(f"kubectl {' '.join(map(str, arguments))}: {done.returncode}\n{said}")
        return done

    def command(self, *arguments: str | Path) -> list[str | Path]:
        """Its command line, for those who start it in their own way."""
        return [
            self._program,
            f"--kubeconfig={self._kubeconfig}",
            f"--namespace={self.namespace}",
            *arguments,
        ]

    def get(self, *what: str) -> Json:
        """An object, or a list of them, as the API server has it."""
        return json.loads(self("get", *what, "--output=json").stdout)

    def apply(self, *objects: Json) -> None:
        """Create or change objects."""
        documents = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self("apply", "--filename=-", stdin=json.dumps(documents))

    def wait(self, what: str, state: str) -> None:
        """Wait for an object's state, in the words of `kubectl wait --for`."""
        self("wait", f"--for={state}", what, "--timeout=90s")

    def _what_there_is(self) -> str:
        """Return the namespace's pods and events, to explain a failure."""
        seen = [
            subprocess.run(
                self.command(*words), capture_output=True, text=True, timeout=_SECONDS, check=False
            )
            for words in (
                ("get", "pods", "--output=wide"),
                ("get", "events", "--sort-by=.metadata.creationTimestamp"),
            )
        ]
        return "".join(f"\n{done.stdout[-3000:]}" for done in seen)
