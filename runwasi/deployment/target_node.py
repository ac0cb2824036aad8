"""Represents the node to configure: its files, which may be below a folder, and its programs."""

from __future__ import annotations

import os
import shutil
import subprocess

from runwasi.deployment.deployment_error import DeploymentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS = 60


class TargetNode:
    """This machine, or one whose root filesystem is mounted at root."""

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.abspath(root)

    @property
    def is_this_machine(self) -> bool:
        """Whether its programs can be called."""
        return self.root == "/"

    def path(self, name: str) -> str:
        """Return the path of a node's file; name is its absolute path on the node."""
        return name if self.is_this_machine else f"{self.root}{name}"

    def name(self, path: str) -> str:
        """Return the node's own path of the file at path."""
        return path if self.is_this_machine else path.removeprefix(self.root)

    def has(self, name: str) -> bool:
        """Return whether the node has a file or folder of this name."""
        return os.path.exists(self.path(name))

    def read(self, name: str) -> str | None:
        """Return a file's text, None without the file. Raises OSError, DeploymentError."""
        try:
            with open(self.path(name), encoding="utf-8", newline="") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise DeploymentError(f"{self.path(name)}: is not UTF-8 at byte {error.start}") from None

    def program(self, name: str) -> str:
        """Return the path of a program that can be called, "" without one."""
        return (shutil.which(name) or "") if self.is_this_machine else ""

    def has_systemd(self) -> bool:
        """Return whether systemd runs this machine. Source: man 3 sd_booted."""
        return self.is_this_machine and os.path.isdir("/run/systemd/system")


def run(command: Sequence[str], text: str = "") -> str:
    """Run a program and return its output. Raises DeploymentError with its message."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except FileNotFoundError:
        raise DeploymentError(f"{' '.join(command)}: {command[0]} is not in PATH") from None
    except OSError as error:
        raise DeploymentError(f"{' '.join(command)}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise DeploymentError(f"{' '.join(command)}: did not end within {_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        raise DeploymentError(f"{' '.join(command)}: {said}")
    return done.stdout
