"""A component that makes every call of WASI 0.2 with every bad argument, as text: written here, from WIT alone.

Each function that a host may provide, and each drop of a handle, is called with each value of each argument, with
each pair of values that exist, and after each other method of the same resource; and the guest's own allocator
misbehaves while the host writes a result.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from devtools.components import build
from tests.attacks.canonical_abi import FEATURES, Function, Image, Type, flat_types, imported_functions
from tests.attacks.component_producers import NAMES, PRODUCERS, Producer
from tests.attacks.component_values import ACCEPTED, END, WILD, Value, made, values_of

WIT = Path(__file__).parent / "guests/hostile.wit"
MOST_PAIRS = 500
"""Where two arguments have more pairs of values than this, only each value alone is tried."""
_RESULTS, _NAMES, _IMAGE = 16, 1024, 4096
_ALLOCATORS = (
    "unreachable",
    f"(return (i32.const {END}))",
    "(return (i32.const -1))",
    "(return (i32.const 3))",
)
"""Bodies of the guest's allocator that do not allocate; the last one calls the host."""


class Case(NamedTuple):
    """An attack: the function, what it is called with, the sort of the worst argument, and whether it can refuse."""

    function: str
    about: str
    sort: int
    fallible: bool


class HostileComponent:
    """The component's text, and its attacks in order."""

    def __init__(self, folder: Path) -> None:
        """Build it in a folder."""
        self._wit = folder / "wit"
        build.dummy("shell")  # so that WASI's interfaces are there
        shutil.copytree(build.BUILD / "wit", self._wit)
        shutil.copy(WIT, self._wit / "hostile.wit")
        functions, self._owners = imported_functions(self._wit, "hostile")
        self.functions = functions + [
            Function(module, f"[resource-drop]{name}", (Type("own", resource=name),), None)
            for name, module in self._owners.items()
        ]
        self._numbers = {f"{each.module}#{each.name}": number for number, each in enumerate(self.functions)}
        self._image = Image(_IMAGE)
        self.cases: list[Case] = []
        self._code: list[str] = []
        for function in self.functions:
            self._with_arguments(function)
        self._in_turn()
        self._with_allocators()
        self.path = self._built(folder / "hostile.wasm")

    # --- attacks

    def _with_arguments(self, function: Function) -> None:
        """Add calls with each value of one argument, and with each pair of values that exist."""
        choices = [_choices(function, at) for at in range(len(function.params))]
        best = tuple(each[0] for each in choices)
        self._add(function, best)
        for at, values in enumerate(choices):
            for index, one in enumerate(values[1:], 1):
                self._add(function, _with(best, at, one), f"{at}:{index}")
                for other in range(at + 1, len(choices)):
                    for second, two in enumerate(choices[other][1:], 1):
                        if (
                            WILD not in (one.sort, two.sort)
                            and len(values) * len(choices[other]) < MOST_PAIRS
                        ):
                            self._add(
                                function,
                                _with(_with(best, at, one), other, two),
                                f"{at}:{index} {other}:{second}",
                            )

    def _in_turn(self) -> None:
        """Add each pair of methods of a resource: what one leaves behind must not surprise the next."""
        for resource in self._owners:
            methods = [
                each for each in self.functions if each.params and each.params[0].resource == resource
                and each.params[0].kind in ("own", "borrow")
            ]  # fmt: skip
            for way in [name for name, each in PRODUCERS.items() if each.resource == resource]:
                for first in methods:
                    for second in methods:
                        self._add_pair(first, second, way)

    def _with_allocators(self) -> None:
        """Add calls in which the guest's allocator misbehaves."""
        for function in self.functions:
            if function.result is not None and _has_list(function.result):
                best = tuple(_choices(function, at)[0] for at in range(len(function.params)))
                for mode in range(1, len(_ALLOCATORS) + 2):
                    self._add(function, best, f"allocator {mode}", mode)

    def _add(self, function: Function, values: tuple[Value, ...], about: str = "", mode: int = 0) -> None:
        sort = max([ACCEPTED, *(each.sort for each in values)])
        code = self._call(function, [each.value for each in values], mode)
        self._put(Case(f"{function.module}#{function.name}", about, sort, _fallible(function)), code)

    def _add_pair(self, first: Function, second: Function, way: str) -> None:
        code = ""
        for function in (first, second):
            values: list[Any] = [_choices(function, at)[0].value for at in range(len(function.params))]
            values[0] = made(way)
            code = f"{code} {'drop' if code else ''} {self._call(function, values, 0)}"
        self._put(
            Case(f"{second.module}#{second.name}", f"{way} after {first.name}", WILD, fallible=False), code
        )

    def _put(self, case: Case, code: str) -> None:
        self._code.append(f"(func $case{len(self.cases)} (result i32) {code})")
        self.cases.append(case)

    def _call(self, function: Function, values: list[Any], mode: int) -> str:
        image = self._image
        image.before, image.stores = [], []
        given = [
            text
            for param, value in zip(function.params, values, strict=True)
            for text in image.flat(param, value)
        ]
        before = " ".join((*dict.fromkeys(image.before), *image.stores))
        number = self._numbers[f"{function.module}#{function.name}"]
        results = flat_types(function.result)
        mode_text = f"(global.set $mode (i32.const {mode}))" if mode else ""
        given += [f"(i32.const {_RESULTS})"] if len(results) > 1 else []
        call = f"{before} {mode_text} (call $f{number} {' '.join(given)})"
        if len(results) == 1:
            return call if results == ["i32"] else f"{call} drop (i32.const 0)"
        return f"{call} (i32.load8_u (i32.const {_RESULTS}))" if results else f"{call} (i32.const 0)"

    # --- the component

    def _built(self, target: Path) -> Path:
        core = target.with_suffix(".core")
        core.write_bytes(build.wasm_tools("parse", "-", "-o", "/dev/stdout", stdin=self._text().encode()))
        embed = ("component", "embed", self._wit, core, "--world", "hostile", *FEATURES)
        core.write_bytes(build.wasm_tools(*embed, "-o", "/dev/stdout"))
        target.write_bytes(build.wasm_tools("component", "new", core, "-o", "/dev/stdout"))
        return target

    def _text(self) -> str:
        image = "".join(f"\\{byte:02x}" for byte in self._image.data())
        names = "".join(f"\\{byte:02x}" for byte in NAMES)
        assert self._image.end() < END // 2, self._image.end()
        parts = [
            *map(self._import, self.functions),
            f'(memory (export "memory") {END >> 16} {END >> 16})',
            "(type $case (func (result i32)))",
            f"(table funcref (elem {' '.join(f'$case{number}' for number in range(len(self.cases)))}))",
            f'(data (i32.const {_NAMES}) "{names}")',
            f'(data (i32.const {_IMAGE}) "{image}")',
            f"(global $free (mut i32) (i32.const {END // 2}))",
            *(f"(global ${name} (mut i32) (i32.const 0))" for name in ("mode", *PRODUCERS)),
            *(
                f"(global $given_{name} (mut i32) (i32.const 0))"
                for name in ("request", "answer", "response")
            ),
            *(self._drop(name) for name in self._owners),
            *(self._producer(name, each) for name, each in PRODUCERS.items()),
            self._allocator(),
            self._append(),
            *self._code,
            _ATTACK,
        ]
        return "\n".join(("(module", *parts, ")"))

    def _import(self, function: Function) -> str:
        cores = [core for param in function.params for core in flat_types(param)]
        results = flat_types(function.result)
        if len(results) > 1:
            cores, results = [*cores, "i32"], []
        number = self._numbers[f"{function.module}#{function.name}"]
        return (
            f'(import "{function.module}" "{function.name}"'
            f" (func $f{number} (param {' '.join(cores)}) (result {' '.join(results)})))"
        )

    def _function(self, short: str) -> str:
        """Return the name in the text of a function that a producer calls by its interface's name and its own."""
        interface, _, name = short.partition("#")
        found = [
            number
            for key, number in self._numbers.items()
            if key.endswith(f"#{name}") and key.partition("@")[0] == f"wasi:{interface}"
        ]
        return f"$f{found[0]}"

    def _drop(self, resource: str) -> str:
        number = self._numbers[f"{self._owners[resource]}#[resource-drop]{resource}"]
        return f"(func $drop_{resource} (param i32) (call $f{number} (local.get 0)))"

    def _producer(self, name: str, producer: Producer) -> str:
        code = producer.code.replace("$R", str(_RESULTS))
        for offset in (4, 19):
            code = code.replace(f"$N+{offset})", f"{_NAMES + offset})")
        needed = [part.partition("}")[0] for part in code.split("{@")[1:]]
        for each in needed:
            code = code.replace(f"{{@{each}}}", f"(global.get ${each})")
        for each in [part.partition("}")[0] for part in code.split("{")[1:]]:
            code = code.replace(f"{{{each}}}", self._function(each))
        code = _file_name(code)
        makes = " ".join(f"(call $make_{each})" for each in dict.fromkeys(needed))
        return (
            f"(func $make_{name} (local $this i32) (if (global.get ${name}) (then return)) {makes}"
            f" {code} (global.set ${name}))"
        )

    def _allocator(self) -> str:
        """Return cabi_realloc: it allocates, or does what $mode says."""
        clock = self._function("random/random#get-random-u64")
        modes = [*_ALLOCATORS, f"(drop (call {clock}))"]
        bad = " ".join(
            f"(if (i32.eq (global.get $mode) (i32.const {number})) (then {code}))"
            for number, code in enumerate(modes, 1)
        )
        return f"""(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {bad}
            (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
            (global.get $free) (global.set $free (i32.add (global.get $free) (local.get 3)))
            (if (i32.gt_u (global.get $free) (i32.const {END})) (then unreachable)))"""

    def _append(self) -> str:
        append = self._function("http/types#[method]fields.append")
        return f"""(func $append_five (param i32 i32 i32)
            (call {append} (local.get 0) (local.get 1) (local.get 2) (i32.const {_NAMES + 18}) (i32.const 1)
            (i32.const {_RESULTS})))"""


_ATTACK = """(func (export "attack") (param i32 i32 i32 i32) (result i32)
    (global.set $given_request (local.get 1)) (global.set $given_answer (local.get 2))
    (global.set $given_response (local.get 3)) (call_indirect (type $case) (local.get 0)))"""


def _file_name(code: str) -> str:
    """Let producers name their file, which is at the beginning of the names."""
    return code.replace(
        "(i32.const 1) (i32.const 0) (i32.const 4)", f"(i32.const 1) (i32.const {_NAMES}) (i32.const 4)"
    )


def _with(values: tuple[Value, ...], at: int, value: Value) -> tuple[Value, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _choices(function: Function, at: int) -> list[Value]:
    param = function.params[at]
    is_target = "symlink-at" in function.name and at == 1  # what a link says is no path until it is followed
    is_file = "filesystem" in function.module and not is_target
    on_folder = is_file and ("-at" in function.name or "directory" in function.name)
    return values_of(param, "folder" if on_folder else "file", paths=is_file)


def _fallible(function: Function) -> bool:
    return function.result is not None and function.result.kind == "cases" and len(function.result.parts) == 2


def _has_list(ty: Type | None) -> bool:
    return ty is not None and (ty.kind in ("string", "list") or any(map(_has_list, ty.parts)))
