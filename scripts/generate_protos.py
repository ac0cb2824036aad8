"""Make runwasi/wire/messages/*.py from proto/*.proto: one module of message classes for runwasi.wire.codec per file.

protoc parses the files (grpcio-tools brings it); from its descriptors the classes are written out, so that
neither protoc nor protobuf is needed to run. `python scripts/generate_protos.py` writes them; with
--check it says only whether anything would change, and fails if so.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import grpc_tools
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

PROJECT = Path(__file__).resolve().parent.parent
SOURCES = PROJECT / "proto"
TARGET = PROJECT / "runwasi" / "wire" / "messages"
WELL_KNOWN = "well_known"  # the module for google/protobuf/*.proto

SCALARS = {
    Field.TYPE_STRING: ("STRING", "str", '""'),
    Field.TYPE_BYTES: ("BYTES", "bytes", 'b""'),
    Field.TYPE_BOOL: ("BOOL", "bool", "False"),
    Field.TYPE_UINT32: ("UINT", "int", "0"),
    Field.TYPE_UINT64: ("UINT", "int", "0"),
    Field.TYPE_INT64: ("INT", "int", "0"),
    Field.TYPE_INT32: ("INT32", "int", "0"),
    Field.TYPE_ENUM: ("INT32", "int", "0"),
    Field.TYPE_FIXED64: ("FIXED64", "int", "0"),
    Field.TYPE_DOUBLE: ("DOUBLE", "float", "0.0"),
}


def main() -> int:
    files = parse()
    MODULES.update({file.package: module_of(file.name) for file in files})
    modules = {
        module: Module(module, [f for f in files if module_of(f.name) == module]) for module in names(files)
    }
    return report(modules) if "--check" in sys.argv else write(modules)


def parse() -> list[FileDescriptorProto]:
    """Let protoc read proto/; every file comes after those it imports."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.NamedTemporaryFile() as output:
        sources = [f"runwasi/proto/{path.name}" for path in sorted(SOURCES.glob("*.proto"))]
        arguments = [f"-Irunwasi/proto={SOURCES}", f"-I{well_known}", "--include_imports", f"-o{output.name}"]
        if protoc.main(["protoc", *arguments, *sources]):
            raise SystemExit("protoc failed")
        return list(FileDescriptorSet.FromString(Path(output.name).read_bytes()).file)


def module_of(proto: str) -> str:
    return WELL_KNOWN if proto.startswith("google/") else Path(proto).stem


def names(files: list[FileDescriptorProto]) -> list[str]:
    return sorted({module_of(file.name) for file in files})


class Module:
    """One module: collects the words of the codec and the modules its classes use while they are written."""

    def __init__(self, name: str, files: list[FileDescriptorProto]) -> None:
        self.name = name
        self.words = set[str]()
        self.imports = set[str]()
        self.body = list[str]()
        packages = [file.package for file in files]
        self.sources = ", ".join(sorted({Path(file.name).name for file in files}))
        for file in files:
            self.add_file(file, packages)

    def add_file(self, file: FileDescriptorProto, packages: list[str]) -> None:
        for enum in file.enum_type:
            self.body += ["", f"# {file.package}.{enum.name}"]
            self.body += [f"{value.name} = {value.number}" for value in enum.value]
        for message in in_order(list(file.message_type), file.package):
            self.add_message(message, file.package, packages)
        for service in file.service:
            self.body += [
                "",
                "",
                f"{service.name.upper()}_METHODS: dict[str, tuple[type[Message], type[Message]]] = {{",
            ]
            for method in service.method:
                request, answer = (
                    self.reference(kind, packages) for kind in (method.input_type, method.output_type)
                )
                self.body.append(f'    "{method.name}": ({request}, {answer}),')
            self.body += ["}", f'"""{file.package}.{service.name}: method -> request and answer."""']

    def add_message(self, message: DescriptorProto, package: str, packages: list[str]) -> None:
        for nested in message.nested_type:
            if not nested.options.map_entry:
                self.add_message(nested, f"{package}.{message.name}", packages)
        entries = {
            f".{package}.{message.name}.{e.name}": e for e in message.nested_type if e.options.map_entry
        }
        full_name = f"{package}.{message.name}"
        self.body += ["", "", f"class {message.name}(Message):", f'    """{full_name}."""', ""]
        self.body += [f'    NAME = "{full_name}"', ""]
        fields = []
        for field in message.field:
            kind, annotation, default = self.describe(field, entries, packages)
            self.body.append(f"    {field.name}: {annotation} = {default}")
            fields.append(f'        ({field.number}, "{field.name}", {kind}),')
        if fields:
            self.body += ["", "    FIELDS = (", *fields, "    )"]

    def describe(
        self, field: Field, entries: dict[str, DescriptorProto], packages: list[str]
    ) -> tuple[str, str, str]:
        """Return a field's kind for the codec, its annotation and its default."""
        entry = entries.get(field.type_name)
        if entry:
            key, value = (self.element(part, packages) for part in entry.field)
            return f"{{{key[0]}: {value[0]}}}", f"Mapping[{key[1]}, {value[1]}]", "EMPTY_MAP"
        kind, annotation, default = self.element(field, packages)
        if field.label == Field.LABEL_REPEATED:
            return f"[{kind}]", f"Sequence[{annotation}]", "()"
        if field.proto3_optional:
            default = "None"
        return kind, annotation if default != "None" else f"{annotation} | None", default

    def element(self, field: Field, packages: list[str]) -> tuple[str, str, str]:
        if field.type == Field.TYPE_MESSAGE:
            name = self.reference(field.type_name, packages)
            return name, name, "None"
        self.words.add(SCALARS[field.type][0])
        return SCALARS[field.type]

    def reference(self, type_name: str, packages: list[str]) -> str:
        """Return how this module names a message, and note the import it takes."""
        package, _, name = type_name.lstrip(".").rpartition(".")
        if not any(package == own or package.startswith(own + ".") for own in packages):
            self.imports.add(f"from runwasi.wire.messages.{MODULES[package]} import {name}")
        return name

    def text(self) -> str:
        body = "\n".join(self.body)
        words = sorted(self.words)
        lines = [f'"""Generated from {self.sources} by scripts/generate_protos.py."""', ""]
        lines += ["from __future__ import annotations", ""]
        if "EMPTY_MAP" in body:
            words.append("EMPTY_MAP")
        codec = f"from runwasi.wire.codec import {', '.join([*sorted(words), 'Message'])}"
        lines += sorted([*self.imports, codec])
        abstract = [name for name in ("Mapping", "Sequence") if f"{name}[" in body]
        if abstract:
            lines += ["", "TYPE_CHECKING = False", "if TYPE_CHECKING:"]
            lines.append(f"    from collections.abc import {', '.join(abstract)}")
        return "\n".join(lines) + "\n" + body + "\n"


MODULES: dict[str, str] = {"google.protobuf": WELL_KNOWN}
"""Package -> module, for references across files."""


def in_order(messages: list[DescriptorProto], package: str) -> list[DescriptorProto]:
    """Sort a file's messages so that each comes after those its fields hold."""
    by_name = {f".{package}.{message.name}": message for message in messages}
    ordered: list[DescriptorProto] = []

    def visit(message: DescriptorProto) -> None:
        if message in ordered:
            return
        for field in [*message.field, *(f for nested in message.nested_type for f in nested.field)]:
            if field.type_name in by_name:
                visit(by_name[field.type_name])
        ordered.append(message)

    for message in messages:
        visit(message)
    return ordered


def report(modules: dict[str, Module]) -> int:
    stale = [name for name, module in modules.items() if current(name) != module.text()]
    for name in stale:
        print(
            f"runwasi/wire/messages/{name}.py differs from what proto/ says: run scripts/generate_protos.py"
        )
    return 1 if stale else 0


def write(modules: dict[str, Module]) -> int:
    for name, module in modules.items():
        if current(name) != module.text():
            (TARGET / f"{name}.py").write_text(module.text())
    print(f"{len(modules)} modules in {TARGET.relative_to(PROJECT)}")
    return 0


def current(name: str) -> str | None:
    path = TARGET / f"{name}.py"
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
