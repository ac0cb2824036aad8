"""Finds how a component calls wasi:http, so that the inset can take those calls over."""

from __future__ import annotations

from runwasi.engines.wasm import component_outline as binary
from runwasi.engines.wasm.component_outline import Definition, NotUnderstood
from runwasi.engines.wasm.shim_module import IMPORTS_TABLE, Shim
from runwasi.engines.wasm.wasm_binary import interface_of
from runwasi.wasi.inset.inset_functions import FUNCTIONS, PASSED_ON
from runwasi.wasi.inset.inset_interface import ANSWER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.wasm.component_outline import Outline

HANDLER, TYPES, STREAMS, POLL = (
    "wasi:http/incoming-handler", "wasi:http/types", "wasi:io/streams", "wasi:io/poll",
)  # fmt: skip

RESOURCES = {
    "fields": TYPES, "incoming-request": TYPES, "outgoing-response": TYPES, "outgoing-body": TYPES,
    "response-outparam": TYPES, "output-stream": STREAMS,
}  # fmt: skip
_OTHER_NAMES = {"headers": "fields", "trailers": "fields"}


class Taken:
    """A function that the inset takes over.

    function  its WIT name
    name      what it is called in the inset's text
    slot      its slot in the shim's table, or in the second table if it is called directly
    real      the core function behind it
    in_place  its definition, to be replaced, if the guest calls it directly
    """

    __slots__ = ("function", "in_place", "name", "real", "slot")

    def __init__(self, function: str, slot: int, real: int, in_place: Definition | None = None) -> None:
        self.function = function
        self.name = f"{_short(function)}:{'more-' if in_place else ''}{slot}"
        self.slot = slot
        self.real = real
        self.in_place = in_place

    def place(self) -> int:
        """Return the section of a direct call's definition."""
        assert self.in_place is not None
        return self.in_place.where[0]

    def spot(self) -> int:
        """Return its index in that section."""
        assert self.in_place is not None
        return self.in_place.where[1]

    def is_drop(self) -> bool:
        """Return whether it drops a resource's handle."""
        return self.function.startswith("[resource-drop]")


def _short(function: str) -> str:
    """Shorten a name: "[method]fields.append" to fields.append, "[constructor]fields" to fields.new."""
    kind, bracket, name = function.partition("]")
    if not bracket:
        return function
    return {"[constructor": f"{name}.new", "[resource-drop": f"{name}.drop"}.get(kind, name)


class Findings:
    """The parts of a component that matter. Raises NotUnderstood for a component of an unknown structure.

    handle       the core function behind the handler
    post_return  the one that is called after it, if any
    memory       the guest's memory
    resources    the guest's resources, each with the instance that exports its type
    """

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        if any(name.startswith(("runwasi:", ANSWER)) for name in outline.outer_names()):
            raise NotUnderstood("it uses names reserved for runwasi")
        self.interfaces = self._find_interfaces()
        lift = self._find_lift()
        self.handle = lift.of
        self.post_return = lift.option(binary.POST_RETURN)
        self.shim_instance = self._find_shim_instance()
        module = outline.core_instances[self.shim_instance].module
        assert module is not None
        self.shim_section = outline.core_modules[module]
        self.shim = Shim(outline.sections[self.shim_section].content)
        self._check_users_of_shim()
        self.taken = [*self._through_the_table(), *self._direct()]
        self.memory = self._find_memory()
        self.resources = self._find_resources()

    def _find_interfaces(self) -> dict[str, int]:
        """Find the imports that concern the inset, each in one version: two versions have different types."""
        found: dict[str, int] = {}
        for index, each in enumerate(self.outline.space(binary.INSTANCE_SORT)):
            interface = each.name.partition("@")[0]
            if each.how == "import" and interface in (TYPES, STREAMS, POLL):
                if interface in found:
                    raise NotUnderstood(f"it imports {interface} in two versions")
                found[interface] = index
        if TYPES not in found:
            raise NotUnderstood(f"it imports no {TYPES}")
        return found

    def _find_lift(self) -> Definition:
        """Find the definition that lifts the guest's function to the exported one."""
        outline = self.outline
        exported = [
            outline.space(sort)[index]
            for name, (sort, index) in outline.exports.items()
            if name.partition("@")[0] == HANDLER and sort == binary.INSTANCE_SORT
        ]
        if len(exported) != 1 or len(exported[0].given) != 1:
            raise NotUnderstood(f"it exports no {HANDLER}, or more than one")
        lift = outline.space(binary.FUNC)[exported[0].given[0]]
        if lift.how != "lift":
            raise NotUnderstood(f"its {HANDLER} is another component's")
        return lift

    # --- the shim

    def _find_shim_instance(self) -> int:
        """Find the instance whose table "$imports" is filled later."""
        outline = self.outline
        owners = {each.of for each in outline.core(binary.CORE_TABLE) if each.name == IMPORTS_TABLE}
        owners |= {each.arguments["shim"] for each in outline.core_instances if "shim" in each.arguments}
        if len(owners) != 1:
            raise NotUnderstood("it has no shim, or two")
        (index,) = owners
        shim = outline.core_instances[index]
        of_it = [each for each in outline.core_instances if each.module == shim.module]
        if shim.module is None or shim.arguments or len(of_it) != 1:
            raise NotUnderstood("its shim has an unknown form")
        return index

    def _check_users_of_shim(self) -> None:
        """Check that nobody uses an export of the shim that its replacement lacks."""
        outline, known = self.outline, self.shim.names()
        used = {
            each.name
            for space in outline.core_spaces.values()
            for each in space
            if each.how == "core alias" and each.of == self.shim_instance
        }
        for each in outline.core_instances:
            for argument, index in each.arguments.items():
                if index == self.shim_instance and each.module is not None:
                    module = outline.sections[outline.core_modules[each.module]].content
                    imports = interface_of(module).imports
                    used |= {imported.name for imported in imports if imported.module == argument}
        if not used <= known:
            raise NotUnderstood("it uses unknown exports of its shim")

    # --- calls

    def _through_the_table(self) -> list[Taken]:
        functions = self.outline.core(binary.CORE_FUNC)
        slots = sorted(self._slots().items())
        return [Taken(name, slot, index) for slot, index in slots if (name := self._name(functions[index]))]

    def _slots(self) -> dict[int, int]:
        """Return the core function for each slot of the shim's table."""
        for each in self.outline.core_instances:
            for index in each.arguments.values():
                exports = self.outline.core_instances[index].exports
                if {*exports, IMPORTS_TABLE} == self.shim.names():
                    return {int(name): each for name, (_, each) in exports.items() if name != IMPORTS_TABLE}
        raise NotUnderstood("its shim is filled in an unknown way")

    def _direct(self) -> list[Taken]:
        """Find the calls that bypass the shim; slots are added for them."""
        functions = self.outline.core(binary.CORE_FUNC)
        through_table = set(self._slots().values())
        shim = self.outline.core_instances[self.shim_instance]
        found = [
            (name, index, each)
            for index, each in enumerate(functions)
            if index not in through_table and (name := self._name(each))
        ]
        if any(each.where < shim.where for _, _, each in found):
            raise NotUnderstood("it calls the host before its shim exists")
        return [Taken(name, slot, index, each) for slot, (name, index, each) in enumerate(found)]

    def _name(self, definition: Definition) -> str:
        """Return the WIT name of a function that the inset takes, "" for any other."""
        if definition.how == "drop":
            resource = self.outline.space(binary.TYPE_SORT)[definition.of]
            name = _OTHER_NAMES.get(resource.name, resource.name)
            ours = self.outline.imported(resource).startswith("wasi:") and name in RESOURCES
            return f"[resource-drop]{name}" if ours else ""
        if definition.how != "lower":
            return ""
        function = self.outline.space(binary.FUNC)[definition.of]
        if self.outline.imported(function).partition("@")[0] not in self.interfaces:
            return ""
        return function.name if function.name in FUNCTIONS or function.name in PASSED_ON else ""

    def _find_memory(self) -> int:
        """Find the guest's memory, which all these functions use."""
        functions = self.outline.core(binary.CORE_FUNC)
        memories = {functions[each.real].option(binary.MEMORY) for each in self.taken} - {None}
        if len(memories) != 1:
            raise NotUnderstood("it has no memory, or two")
        (memory,) = memories
        assert memory is not None
        return memory

    def _find_resources(self) -> dict[str, int]:
        types = self.interfaces[TYPES]
        known = {"incoming-request": types, "response-outparam": types}
        for sort in (binary.FUNC, binary.TYPE_SORT):
            for each in self.outline.space(sort):
                interface = self.outline.imported(each).partition("@")[0]
                name = each.name.partition("]")[2].partition(".")[0] if sort == binary.FUNC else each.name
                name = _OTHER_NAMES.get(name, name)
                if interface in self.interfaces and RESOURCES.get(name) == interface:
                    known[name] = self.interfaces[interface]
        return known
