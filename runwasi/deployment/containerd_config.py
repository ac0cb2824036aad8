"""Adds our runtimes to containerd's configuration, or removes them again.

It only adds text, between two comments; everything else stays as it is, comments included. Before it writes,
it parses the result, compares it with the old configuration, and lets containerd parse it too if that can be
called.
If a configuration of containerd 2 imports a folder of files, ours goes there. In containerd 1.x an imported plugin
section replaces the whole section, and a table of runtimes replaces the default one, which has runc.
"""

from __future__ import annotations

import os
import re

from runwasi.deployment.containerd_document import PLUGINS, Document, has_systemd_cgroup
from runwasi.deployment.containerd_program import DEFAULT_ADDRESS, is_older_than, pid_behind
from runwasi.deployment.deployment_error import DeploymentError
from runwasi.deployment.file_change import FileChange
from runwasi.deployment.marked_block import has_block, with_block, without_block
from runwasi.deployment.runtimes import SAFE_ANNOTATIONS
from runwasi.deployment.target_plan import TargetPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from runwasi.deployment.containerd_program import ContainerdProgram
    from runwasi.deployment.runtimes import Runtime
    from runwasi.deployment.target_node import TargetNode

_DROP_IN = "runwasi.toml"
_OPTIONS = "runwasi-options.toml"
_KUBELET = "/var/lib/kubelet/config.yaml"
_RESTART = ("systemctl", "restart", "containerd")
_NO_CRI = (
    "its CRI plugin is disabled, as Docker's packages do: ctr and Docker find the shims in PATH and need no entry. "
    'For Kubernetes, remove "cri" from disabled_plugins first'
)
_NO_PATHS = (
    "containerd {release} finds shims only in its PATH, and {shim} is not there: install below /usr/local, or link "
    "to the programs from /usr/local/bin"
)
_OLD = (
    "{path} is of version {version}, which runwasi cannot extend: write it in version 2 "
    "(containerd 1.7 and newer: `containerd --config {path} config migrate`)"
)


class ContainerdConfig:
    """One configuration of one containerd; program is None where none can be called."""

    def __init__(self, node: TargetNode, name: str, program: ContainerdProgram | None) -> None:
        """Read it. Raises DeploymentError, OSError."""
        self._node = node
        self._program = program
        self._path = node.path(name)
        self._text = node.read(name)
        self._base = without_block(self._text or "", self._path)
        self._head = ""
        if not Document(self._base, self._path).content:  # no such file, or nothing but comments in it
            version = 3 if program and program.release >= (2, 0) else 2  # 1.x reads no other
            self._head = f"version = {version}\n"
        self.document = Document(self._head + self._base, self._path)
        self._drop_in = "" if has_block(self._text or "") else self._drop_in_path()
        self._options = f"{os.path.dirname(self._path)}/{_OPTIONS}"

    def _drop_in_path(self) -> str:
        """Return the path of our own file in the imported folder, "" if it would not be merged."""
        folder = self.document.drop_in_folder()
        merges = self.document.version >= 3 or (self._program and self._program.release >= (2, 0))
        path = f"{folder}/{_DROP_IN}"
        return path if folder and (merges or os.path.exists(path)) else ""

    def install(self, runtimes: Sequence[Runtime]) -> TargetPlan:
        """Return the plan that makes the runtimes known. Raises DeploymentError."""
        if self.document.disables_cri:
            return TargetPlan("containerd", self._found(), notes=[_NO_CRI])
        if self.document.version not in PLUGINS:
            raise DeploymentError(_OLD.format(path=self._path, version=self.document.version))
        dumped = self._dumped_before()
        systemd = self._systemd_cgroup(dumped)
        known = {**dumped.runtimes, **self.document.runtimes}
        ours = self._in_drop_in()
        wanted = [runtime for runtime in runtimes if runtime.handler not in known or runtime.handler in ours]
        theirs = [runtime for runtime in runtimes if runtime not in wanted]
        notes = [
            note for runtime in theirs for note in self._advice(runtime, known[runtime.handler], systemd)
        ]
        notes += self._driver_advice(systemd)
        content = "".join(self._table(runtime, systemd) for runtime in wanted)
        if wanted and self._loses_runc():
            content += self._runc(systemd)
        changes = self._changes(content)
        if wanted:
            self._check(changes[0], [runtime.handler for runtime in wanted], dumped)
        return self._plan(changes, notes)

    def uninstall(self, types: Container[str]) -> TargetPlan:
        """Return the plan that removes our part; types are those of our runtimes. Raises DeploymentError."""
        tables = self.document.runtimes if self.document.version in PLUGINS else {}
        handlers = [name for name, table in tables.items() if table.get("runtime_type") in types]
        notes = [
            f"{self._path} has a table for {name} that `runwasi install` did not write: remove it by hand"
            for name in handlers
        ]
        if handlers and self.document.default_runtime in handlers:
            notes.append(f"{self._path} makes {self.document.default_runtime} the default: change that first")
        return self._plan(self._changes(""), notes)

    def _found(self) -> str:
        version = f"version {self.document.version}" if self._text else "no such file yet"
        if self._program is None:
            return f"{self._path} ({version}); no containerd to ask"
        return f"containerd {'.'.join(map(str, self._program.release))} with {self._path} ({version})"

    def _changes(self, content: str) -> list[FileChange]:
        """Return the change of the configuration, and that of the options file of containerd 1.6."""
        changes = []
        if self._drop_in:
            name = self._node.name(self._drop_in)
            before = self._node.read(name)
            whole = with_block("", f"version = {self.document.version}\n{content}") if content else None
            changes.append(FileChange(self._drop_in, before, whole))
        elif content:
            after = with_block(self._base, self._head + content)
            changes.append(FileChange(self._path, self._text, after, keep=not has_block(self._text or "")))
        else:
            rest = self._base if self._text and self._base else None
            changes.append(
                FileChange(self._path, self._text, self._text if self._text == self._base else rest)
            )
        options = "SystemdCgroup = true\n" if f'"{self._node.name(self._options)}"' in content else None
        before = self._node.read(self._node.name(self._options))
        return [*changes, FileChange(self._options, before, options)]

    def _plan(self, changes: list[FileChange], notes: list[str]) -> TargetPlan:
        """Return the plan: restart containerd if a file changes, or was written after containerd started."""
        after = [_RESTART] if self._node.has_systemd() else []
        return TargetPlan(
            "containerd",
            self._found(),
            changes,
            after=after,
            hint="restart containerd; its containers keep running",
            due=self._is_stale(changes),
            notes=notes,
        )

    def _is_stale(self, changes: list[FileChange]) -> bool:
        if not self._node.is_this_machine:
            return False
        pid = pid_behind(self.document.address or DEFAULT_ADDRESS)
        files = [change.path for change in changes]
        if self._drop_in:
            files.append(os.path.dirname(self._drop_in))  # the file existed and is gone
        return is_older_than(pid, files)

    def _dumped_before(self) -> Document:
        """Return the configuration as containerd reads it, without our part."""
        empty = Document(f"version = {self.document.version}\n", self._path)
        if self._program is None:
            return empty
        return self._dump(self._head + self._base)

    def _dump(self, text: str, drop_in: str = "") -> Document:
        assert self._program is not None
        folder = os.path.dirname(self._path) if self.document.has_relative_imports else None
        try:
            return Document(self._program.dump_text(text, folder, drop_in), "`containerd config dump`")
        except DeploymentError as error:
            raise DeploymentError(f"containerd refuses {self._path}; it is left as it was: {error}") from None

    def _in_drop_in(self) -> set[str]:
        """Return the handlers that our own drop-in names."""
        text = self._node.read(self._node.name(self._drop_in)) if self._drop_in else None
        return set(Document(text, self._drop_in).runtimes) if text else set()

    def _systemd_cgroup(self, dumped: Document) -> bool:
        """Return the cgroup driver: the one of runc's entry, otherwise kubelet's."""
        written = has_systemd_cgroup(self.document.runtimes.get("runc", {}))
        if written is None and (self.document.imported() or self._drop_in):
            written = has_systemd_cgroup(dumped.runtimes.get("runc", {}))
        if written is not None:
            return written
        return kubelet_driver(self._node) == "systemd"

    def _driver_advice(self, systemd: bool) -> list[str]:
        driver = kubelet_driver(self._node)
        if not driver or (driver == "systemd") is systemd:
            return []
        says = f"runc's entry in {self._path} says SystemdCgroup = {str(systemd).lower()}"
        return [
            f"kubelet's cgroupDriver is {driver} ({self._node.path(_KUBELET)}), but {says}: change one of them"
        ]

    def _advice(self, runtime: Runtime, table: object, systemd: bool) -> list[str]:
        """Return advice about settings that another's table lacks, because TOML cannot append to a table."""
        if not isinstance(table, dict):
            return []
        lacking = []
        if table.get("runtime_type") not in (runtime.type, "io.containerd.runc.v2"):
            lacking.append(f'its runtime_type is {table.get("runtime_type")!r}, and ours is "{runtime.type}"')
        if not table.get("pod_annotations"):
            lacking.append("it passes no annotations of pods on: it has no pod_annotations")
        options = table.get("options") or {}
        if systemd and not options.get("SystemdCgroup") and not options.get("ConfigPath"):
            lacking.append("it lacks the option SystemdCgroup, which runc has")
        where = f"the table of {runtime.handler} in {self._path} was not written by `runwasi install`"
        return [f"{where}: {'; '.join(lacking) or 'it is complete, and stays as it is'}"]

    def _table(self, runtime: Runtime, systemd: bool) -> str:
        options = {}
        if runtime.shim and self._program and self._program.release < (1, 7):
            release = ".".join(map(str, self._program.release))
            raise DeploymentError(_NO_PATHS.format(release=release, shim=runtime.shim))
        if systemd:
            options["SystemdCgroup"] = "true"
            if self._program and self._program.release < (1, 7):
                # To shims other than runc's, it passes only the path of a file with options.
                options["ConfigPath"] = f'"{self._node.name(self._options)}"'
        return runtime_table(self.document.plugin, runtime, options)

    def _loses_runc(self) -> bool:
        """Return whether our table would replace the default one, which has runc: it does in containerd 1.x."""
        if self.document.version != 2 or (self._program and self._program.release >= (2, 0)):
            return False
        return not self.document.runtimes

    def _runc(self, systemd: bool) -> str:
        head = f'[plugins."{self.document.plugin}".containerd.runtimes.runc'
        options = f"  {head}.options]\n    SystemdCgroup = true\n" if systemd else ""
        return f'{head}]\n  runtime_type = "io.containerd.runc.v2"\n{options}'

    def _check(self, change: FileChange, handlers: Sequence[str], dumped: Document) -> None:
        """Parse the result. Raises DeploymentError if anything but our runtimes would change."""
        assert change.after is not None
        after = Document(change.after, change.path)
        if not self._drop_in:
            self._compare(after, handlers)
        if self._program is None:
            return
        read = self._dump(*((self._head + self._base, change.after) if self._drop_in else (change.after,)))
        for name in (*dumped.runtimes, *handlers):
            if name not in read.runtimes:
                raise DeploymentError(
                    f"containerd would not know the runtime {name} then, perhaps because {self._path} imports a "
                    "file that replaces the table; it is left as it was"
                )

    def _compare(self, after: Document, handlers: Sequence[str]) -> None:
        """Compare everything that is not ours."""
        content = after.content
        added = {*handlers, *(["runc"] if self._loses_runc() else ())}
        runtimes = content["plugins"][self.document.plugin]["containerd"]["runtimes"]
        for name in added:
            del runtimes[name]
        before = Document(self._head + self._base, self._path).content
        if _without_empty(content) != _without_empty(before):
            raise DeploymentError(
                f"{self._path} would change in more than our runtimes; it is left as it was"
            )


def runtime_table(plugin: str, runtime: Runtime, options: dict[str, str]) -> str:
    """Return the table of a runtime as TOML; the options' values are TOML too."""
    head = f'[plugins."{plugin}".containerd.runtimes.{runtime.handler}'
    lines = [f"{head}]", f'  runtime_type = "{runtime.type}"']
    if runtime.shim:
        lines.append(f'  runtime_path = "{runtime.shim}"')
    lines.append("  pod_annotations = [")
    lines += [f'    "{name}",' for name in SAFE_ANNOTATIONS]
    lines.append("  ]")
    if options:
        lines.append(f"  {head}.options]")
        lines += [f"    {key} = {value}" for key, value in options.items()]
    return "\n".join(lines) + "\n"


def kubelet_driver(node: TargetNode) -> str:
    """Return kubelet's cgroupDriver, "" without a configured kubelet."""
    text = node.read(_KUBELET)
    if text is None:
        return ""
    found = re.search(r"^cgroupDriver:\s*[\"']?(\w+)", text, re.MULTILINE)
    return found[1] if found else "cgroupfs"  # KubeletConfiguration's default


def _without_empty(value: object) -> object:
    """Drop empty tables: one may be left of a header that only our tables needed."""
    if not isinstance(value, dict):
        return value
    kept = {key: _without_empty(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item != {}}
