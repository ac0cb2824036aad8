"""Sets the inset, our own wasm code, into a component that serves HTTP.

For a small response a guest makes about ten calls to the host, each with handles and values to convert. The
inset stands between the guest and the host, in the guest's own sandbox (inset_common.py and
inset_functions.py): it collects the response there, and the host gets it whole, as the result of the one
function that it calls. The inset passes any other call on to the host, after it has made real resources of what
it kept (inset_host.py). So only the time differs.

The guest reaches the host through the functions of its shim module. This module replaces the shim by one with a
memory and a second table, through which the guest's direct calls go. Everything else is added at the component's
end, where both tables are filled with the inset's functions.
Source: the component model's design/mvp/Binary.md and CanonicalABI.md.
"""

from __future__ import annotations

from runwasi.engines.engine import CannotHandle
from runwasi.engines.wasm import component_outline as binary
from runwasi.engines.wasm.component_outline import NotUnderstood, Outline, Section
from runwasi.engines.wasm.component_writing import (
    Definitions,
    Insertion,
    core_alias,
    named,
    section,
    vector,
)
from runwasi.engines.wasm.shim_module import MEMORY, MORE_TABLE, more_name
from runwasi.engines.wasm.wasm_binary import leb128
from runwasi.engines.wasmtime_capi import WasmtimeError, wat_to_wasm
from runwasi.wasi.inset.findings import Findings
from runwasi.wasi.inset.inset_interface import ANSWER, HOST, SIGNATURES
from runwasi.wasi.inset.inset_text import imported, inset_text, signature

_PRIMITIVES = {"string": b"\x73", "u32": b"\x79", "u16": b"\x7b", "bool": b"\x7f"}
_OWN, _BORROW, _TUPLE, _FUNCTION, _INSTANCE_TYPE = b"\x69", b"\x68", b"\x6f", b"\x40", b"\x42"
_NO_OPTIONS = vector([])


def with_inset(component: bytes) -> bytes:
    """Return the component with the inset in it.

    Raises NotUnderstood if it serves no HTTP, has an unknown structure, or is malformed; the compiler describes
    the last better.
    """
    try:
        outline = Outline(component)
        return _Setting(outline, Findings(outline)).component()
    except (CannotHandle, IndexError, KeyError, WasmtimeError) as error:
        raise NotUnderstood(f"it is malformed: {error}") from None


class _Setting:
    """The assembly of the new component."""

    def __init__(self, outline: Outline, found: Findings) -> None:
        self._outline = outline
        self._found = found
        self._direct = [each for each in found.taken if each.in_place]
        # right after the last of the direct calls, so that their table is filled before the guest can use it
        self._place = max((each.place() for each in self._direct), default=found.shim_section)
        first = outline.core_sizes(self._place)
        counts = {
            binary.CORE_FUNC: len(self._direct),
            binary.CORE_MODULE_SORT: 1,
            binary.CORE_INSTANCE_SORT: 2,
        }
        self._insertion = Insertion(first, counts)
        self._between = Definitions(first, {})
        sizes = {sort: size + counts.get(sort, 0) for sort, size in outline.core_sizes().items()}
        self._added = Definitions(sizes, {sort: len(space) for sort, space in outline.spaces.items()})

    def component(self) -> bytes:
        """Return the new component."""
        shim = wat_to_wasm(
            self._found.shim.text([signature(each.function) for each in self._direct]).encode()
        )
        self._add(self._fill_for_now())
        out = [binary.MAGIC]
        for index, old in enumerate(self._outline.sections):
            if index == self._found.shim_section:
                out.append(section(old.number, shim))
            elif index <= self._place:
                out.append(self._diverted(index, old))
            else:
                out.append(self._insertion.renumbered(old))
            if index == self._place:
                out += self._between.sections
        return b"".join((*out, *self._added.sections))

    def _diverted(self, index: int, old: Section) -> bytes:
        """Encode a section as it was, but with the shim's functions where the guest called directly."""
        slots = {each.spot(): each.slot for each in self._direct if each.place() == index}
        if not slots:
            return section(old.number, old.content)
        parts = []
        for spot, part in enumerate(old.parts):
            if spot in slots:
                alias = core_alias(binary.CORE_FUNC, self._found.shim_instance, more_name(slots[spot]))
                parts.append(section(binary.ALIAS, vector([alias])))
            else:
                parts.append(section(old.number, vector([part])))
        return b"".join(parts)

    def _fill_for_now(self) -> dict[str, int]:
        """Lower the direct calls again, and fill their table with them until the inset exists.

        Returns them by their names in the inset's text.
        """
        sections = self._outline.sections
        real = {
            each.name: self._between.canon(sections[each.place()].parts[each.spot()]) for each in self._direct
        }
        text = [
            f'(import "shim" "{MORE_TABLE}" (table $more 0 funcref))',
            *(imported("real", each.name, signature(each.function)) for each in self._direct),
            *(
                f"(elem (table $more) (i32.const {each.slot}) func $real:{each.name})"
                for each in self._direct
            ),
        ]
        module = wat_to_wasm("\n".join(("(module", *text, ")")).encode())
        bundle = self._between.bundle(binary.CORE_FUNC, real)
        shim = self._found.shim_instance
        self._between.instantiate(self._between.core_module(module), {"shim": shim, "real": bundle})
        return real

    # --- what is added at the end

    def _add(self, real: dict[str, int]) -> None:
        found, added = self._found, self._added
        memory = added.core_alias(binary.CORE_MEMORY, found.shim_instance, MEMORY)
        latin1 = vector([bytes((binary.LATIN1_UTF16,)), bytes((binary.MEMORY,)) + leb128(memory)])
        hosts = self._host_functions(latin1)
        arguments = {
            "memory": added.bundle(binary.CORE_MEMORY, {"guest": found.memory}),
            "shim": found.shim_instance,
            "guest": added.bundle(binary.CORE_FUNC, self._guest()),
            "host": added.bundle(binary.CORE_FUNC, hosts),
            "real": added.bundle(binary.CORE_FUNC, self._real_functions(real)),
            "drop": added.bundle(binary.CORE_FUNC, self._drops()),
        }
        module = wat_to_wasm(inset_text(found, hosts).encode())
        instance = added.instantiate(added.core_module(module), arguments)
        run = added.core_alias(binary.CORE_FUNC, instance, "run")
        answer = added.type(_TUPLE + vector(_PRIMITIVES[part] for part in ("u32", "u32", "string")))
        ty = added.type(_FUNCTION + vector([]) + b"\0" + leb128(answer, signed=True))
        added.export_function(ANSWER, added.lift(run, latin1, ty))

    def _guest(self) -> dict[str, int]:
        functions = {"handle": self._found.handle, "post-return": self._found.post_return}
        return {
            name: self._insertion.moved(binary.CORE_FUNC, index)
            for name, index in functions.items()
            if index is not None
        }

    def _host_functions(self, latin1: bytes) -> dict[str, int]:
        """Import the host functions for the resources that the guest has."""
        names = [name for name, (params, result) in SIGNATURES.items() if self._knows(*params, result)]
        instance = self._added.import_instance(HOST, self._added.type(self._host_type(names)))
        functions = {}
        for name in names:
            function = self._added.alias(binary.FUNC, instance, name)
            options = latin1 if "string" in SIGNATURES[name][0] else _NO_OPTIONS
            functions[name] = self._added.lower(function, options)
        return functions

    def _knows(self, *types: str) -> bool:
        return {ty.partition(" ")[2] for ty in types} <= {"", *self._found.resources}

    def _host_type(self, names: list[str]) -> bytes:
        """Encode the type of the instance that the host provides: the resources' types, then the functions."""
        declarations: list[bytes] = []
        types: dict[str, int] = {}

        def declare(name: str, declaration: bytes) -> None:
            types[name] = len(types)
            declarations.append(declaration)

        def value(ty: str) -> bytes:
            return _PRIMITIVES.get(ty) or leb128(types[ty], signed=True)

        for resource, instance in self._found.resources.items():
            outer = self._added.alias(binary.TYPE_SORT, instance, resource)
            declare(resource, b"\x02" + bytes((binary.TYPE_SORT, 0x02, 0x01)) + leb128(outer))
            declare(f"own {resource}", b"\x01" + _OWN + leb128(types[resource]))
            declare(f"borrow {resource}", b"\x01" + _BORROW + leb128(types[resource]))
        for name in names:
            params, result = SIGNATURES[name]
            given = vector(named(f"p{number}") + value(ty) for number, ty in enumerate(params))
            declare(
                f"{name}()", b"\x01" + _FUNCTION + given + (b"\0" + value(result) if result else b"\x01\0")
            )
            exported = b"\0" + named(name) + bytes((binary.FUNC,)) + leb128(types[f"{name}()"])
            declarations.append(b"\x04" + exported)
        return _INSTANCE_TYPE + vector(declarations)

    def _real_functions(self, direct: dict[str, int]) -> dict[str, int]:
        """Return the function behind each one that the inset takes over, except drops, which are alike."""
        moved = self._insertion.moved
        return {
            each.name: direct.get(each.name, moved(binary.CORE_FUNC, each.real))
            for each in self._found.taken
            if not each.is_drop()
        }

    def _drops(self) -> dict[str, int]:
        """Add the drop of each resource, whether or not the guest drops it."""
        added = self._added
        return {
            resource: added.drop(added.alias(binary.TYPE_SORT, instance, resource))
            for resource, instance in self._found.resources.items()
        }
