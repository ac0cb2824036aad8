"""Reads a component's parts: its core modules, instances and functions, and how they are linked.

Only the component's own level is read; nested components and the contents of types are
skipped. Source: the component model's design/mvp/Binary.md.
"""

from __future__ import annotations

from runwasi.engines.wasm.wasm_binary import Reader

MAGIC = b"\0asm\x0d\0\x01\0"

(
    CUSTOM,
    CORE_MODULE,
    CORE_INSTANCE,
    CORE_TYPE,
    COMPONENT,
    INSTANCE,
    ALIAS,
    TYPE,
    CANON,
    START,
    IMPORT,
    EXPORT,
) = range(12)

CORE_FUNC, CORE_TABLE, CORE_MEMORY, CORE_GLOBAL = 0x00, 0x01, 0x02, 0x03
CORE_MODULE_SORT, CORE_INSTANCE_SORT = 0x11, 0x12
FUNC, VALUE, TYPE_SORT, COMPONENT_SORT, INSTANCE_SORT = 0x01, 0x02, 0x03, 0x04, 0x05

UTF8, LATIN1_UTF16, MEMORY, REALLOC, POST_RETURN = 0x00, 0x02, 0x03, 0x04, 0x05
_WITH_INDEX = (MEMORY, REALLOC, POST_RETURN)


class NotUnderstood(Exception):
    """The component has something that this reader does not know."""


class Definition:
    """One entry of an index space.

    how     "import", "alias" (of `name` in instance `of`), "core alias" (the same in a core instance), "lower" and
            "lift" (of function `of`), "drop" (of resource type `of`), or "" for anything else
    name    of an import or an alias
    options of a lift or lower, as (kind, index)
    given   the functions that an instance was made with
    where   the section that defines it, and its index there
    """

    __slots__ = ("given", "how", "name", "of", "options", "where")

    def __init__(
        self,
        how: str = "",
        of: int = 0,
        name: str = "",
        options: tuple[tuple[int, int], ...] = (),
        where: tuple[int, int] = (0, 0),
        given: tuple[int, ...] = (),
    ) -> None:
        self.given = given
        self.how = how
        self.of = of
        self.name = name
        self.options = options
        self.where = where

    def option(self, kind: int) -> int | None:
        """Return the index of an option, None without the option."""
        return next((index for known, index in self.options if known == kind), None)


class CoreInstance:
    """A core instance: of a module with instances as arguments, or a mere set of names for definitions."""

    __slots__ = ("arguments", "exports", "module", "where")

    def __init__(
        self,
        module: int | None,
        arguments: dict[str, int],
        exports: dict[str, tuple[int, int]],
        where: tuple[int, int],
    ) -> None:
        self.module = module
        self.arguments = arguments
        self.exports = exports
        self.where = where


class Section:
    """A section: its number and content; a CANON section also has its parts."""

    __slots__ = ("content", "number", "parts")

    def __init__(self, number: int, content: bytes) -> None:
        self.number = number
        self.content = content
        self.parts: list[bytes] = []


class Outline:
    """A component's sections and its index spaces. Raises NotUnderstood, CannotHandle (malformed)."""

    def __init__(self, binary: bytes) -> None:
        if not binary.startswith(MAGIC):
            raise NotUnderstood("it is not a component")
        self.sections: list[Section] = []
        self.core_modules: list[int] = []  # the section of each
        self.core_instances: list[CoreInstance] = []
        self.core_spaces: dict[int, list[Definition]] = {}
        self.spaces: dict[int, list[Definition]] = {}
        self.exports: dict[str, tuple[int, int]] = {}
        at = len(MAGIC)
        while at < len(binary):
            header = Reader(binary[at : at + 11])
            number, length = header.byte(), header.number()
            at += header.at
            self.sections.append(Section(number, binary[at : at + length]))
            self._read(number, len(self.sections) - 1)
            at += length

    def core(self, sort: int) -> list[Definition]:
        """Return the index space of a core sort."""
        return self.core_spaces.setdefault(sort, [])

    def space(self, sort: int) -> list[Definition]:
        """Return the index space of a sort."""
        return self.spaces.setdefault(sort, [])

    def imported(self, definition: Definition) -> str:
        """Return the name of the import that an alias refers to, "" if it refers to something else."""
        if definition.how != "alias":
            return ""
        owner = self.space(INSTANCE_SORT)[definition.of]
        return owner.name if owner.how == "import" else ""

    def core_sizes(self, section: int | None = None) -> dict[int, int]:
        """Return the number of definitions of each core sort, at the end or right after a section."""
        sizes = {
            sort: len([each for each in space if section is None or each.where[0] <= section])
            for sort, space in self.core_spaces.items()
        }
        sizes[CORE_MODULE_SORT] = len(
            [each for each in self.core_modules if section is None or each <= section]
        )
        sizes[CORE_INSTANCE_SORT] = len(
            [each for each in self.core_instances if section is None or each.where[0] <= section]
        )
        return sizes

    def outer_names(self) -> list[str]:
        """Return the names of all imports and exports."""
        imported = [each.name for space in self.spaces.values() for each in space if each.how == "import"]
        return [*self.exports, *imported]

    def _read(self, number: int, index: int) -> None:
        section = self.sections[index]
        reader = Reader(section.content)
        if number == CORE_MODULE:
            self.core_modules.append(index)
        elif number == COMPONENT:
            self.space(COMPONENT_SORT).append(Definition())
        elif number == TYPE:
            self.space(TYPE_SORT).extend(Definition() for _ in range(reader.count()))
        elif number in _READERS:
            for _ in range(reader.count()):
                start = reader.at
                _READERS[number](self, reader, (index, len(section.parts)))
                section.parts.append(section.content[start : reader.at])
        elif number not in (CUSTOM, CORE_TYPE):
            raise NotUnderstood(f"it has a section {number}")

    def _core_instance(self, reader: Reader, where: tuple[int, int]) -> None:
        if reader.byte() == 0x00:
            module, arguments = reader.number(), {}
            for _ in range(reader.count()):
                name = reader.name()
                reader.byte()
                arguments[name] = reader.number()
            self.core_instances.append(CoreInstance(module, arguments, {}, where))
        else:
            exports = {}
            for _ in range(reader.count()):
                name = reader.name()
                exports[name] = (reader.byte(), reader.number())
            self.core_instances.append(CoreInstance(None, {}, exports, where))

    def _instance(self, reader: Reader, where: tuple[int, int]) -> None:
        of_component = reader.byte() == 0x00
        if of_component:
            reader.number()
        given = []
        for _ in range(reader.count()):
            if of_component:
                reader.name()
            else:
                _extern_name(reader)
            sort = reader.byte()
            if sort == 0x00:
                raise NotUnderstood("it passes on a core module")
            index = reader.number()
            if sort == FUNC:
                given.append(index)
        self.space(INSTANCE_SORT).append(Definition(given=tuple(given), where=where))

    def _alias(self, reader: Reader, where: tuple[int, int]) -> None:
        sort = reader.byte()
        core_sort = reader.byte() if sort == 0x00 else 0
        target = reader.byte()
        of = reader.number()
        how = ("alias", "core alias", "")[target] if target < 3 else ""
        name = ""
        if target == 0x02:
            reader.number()
        else:
            name = reader.name()
        definition = Definition(how, of, name, where=where)
        if sort != 0x00:
            self.space(sort).append(definition)
        elif core_sort == CORE_MODULE_SORT:
            raise NotUnderstood("it has a core module from elsewhere")
        else:
            self.core(core_sort).append(definition)

    def _canon(self, reader: Reader, where: tuple[int, int]) -> None:
        kind = reader.byte()
        if kind in (0x00, 0x01):
            reader.byte()
            function, options = reader.number(), _options(reader)
            if kind == 0x00:
                reader.number()
                self.space(FUNC).append(Definition("lift", function, options=options, where=where))
            else:
                self.core(CORE_FUNC).append(Definition("lower", function, options=options, where=where))
        elif kind in (0x02, 0x03, 0x04):  # resource.new, .drop, .rep
            of = reader.number()
            self.core(CORE_FUNC).append(Definition("drop" if kind == 0x03 else "", of, where=where))
        else:
            raise NotUnderstood(f"it has a built-in function {kind:#x}")

    def _import(self, reader: Reader, where: tuple[int, int]) -> None:
        name = _extern_name(reader)
        self.space(_described_sort(reader)).append(Definition("import", name=name, where=where))

    def _export(self, reader: Reader, _where: tuple[int, int]) -> None:
        name, sort = _extern_name(reader), reader.byte()
        if sort == 0x00:
            raise NotUnderstood("it exports a core definition")
        of, space = reader.number(), self.space(sort)
        self.exports[name] = (sort, of)
        space.append(space[of] if of < len(space) else Definition())
        if reader.byte() == 0x01:
            _described_sort(reader)


_READERS = {
    CORE_INSTANCE: Outline._core_instance,
    INSTANCE: Outline._instance,
    ALIAS: Outline._alias,
    CANON: Outline._canon,
    IMPORT: Outline._import,
    EXPORT: Outline._export,
}


def _options(reader: Reader) -> tuple[tuple[int, int], ...]:
    options = []
    for _ in range(reader.count()):
        kind = reader.byte()
        if kind > POST_RETURN:
            raise NotUnderstood("it has asynchronous functions")
        options.append((kind, reader.number() if kind in _WITH_INDEX else 0))
    return tuple(options)


def _described_sort(reader: Reader) -> int:
    """Read the sort that an import's or export's description declares."""
    sort = reader.byte()
    if sort not in (FUNC, TYPE_SORT, COMPONENT_SORT, INSTANCE_SORT):
        raise NotUnderstood("it imports or exports a core module or a value")
    if sort != TYPE_SORT or reader.byte() == 0x00:
        reader.number()
    return sort


def _extern_name(reader: Reader) -> str:
    if reader.byte() > 0x01:
        raise NotUnderstood("it has a name of an unknown form")
    return reader.name()
