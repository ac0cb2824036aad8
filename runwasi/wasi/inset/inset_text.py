"""Writes the inset for one component in WebAssembly text: imports, functions, and the tables to fill."""

from __future__ import annotations

from runwasi.engines.wasm.shim_module import IMPORTS_TABLE, MEMORY, MORE_TABLE
from runwasi.wasi.inset.findings import RESOURCES
from runwasi.wasi.inset.inset_common import COMMON
from runwasi.wasi.inset.inset_functions import FUNCTIONS, PASSED_ON
from runwasi.wasi.inset.inset_interface import SIGNATURES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from runwasi.engines.wasm.shim_module import Signature
    from runwasi.wasi.inset.findings import Findings, Taken

_DROP: Signature = (("i32",), ())
_HANDLE: Signature = (("i32", "i32"), ())
_POST_RETURN: Signature = ((), ())


def inset_text(found: Findings, hosts: Container[str]) -> str:
    """Return the inset's text; `hosts` are the functions that the host provides."""
    parts = [
        '(import "memory" "guest" (memory $g 0))',
        f'(import "shim" "{MEMORY}" (memory $s 1))',
        f'(import "shim" "{IMPORTS_TABLE}" (table $imports 0 funcref))',
        f'(import "shim" "{MORE_TABLE}" (table $more 0 funcref))',
        imported("guest", "handle", _HANDLE),
    ]
    lacking = []
    if found.post_return is not None:
        parts.append(imported("guest", "post-return", _POST_RETURN))
    else:
        lacking.append(_function("guest", "post-return", _POST_RETURN, ""))
    parts += [
        imported("real", each.name, signature(each.function)) for each in found.taken if not each.is_drop()
    ]
    for name in SIGNATURES:
        (parts if name in hosts else lacking).append(_host(name, is_there=name in hosts))
    for name in RESOURCES:
        if name in found.resources:
            parts.append(imported("drop", name, _DROP))
        else:
            lacking.append(_function("drop", name, _DROP, "unreachable"))
    functions = [*map(_taken, found.taken), *map(_filled, found.taken)]
    return "\n".join(("(module $inset", *parts, *lacking, COMMON, *functions, ")"))


def imported(module: str, name: str, ty: Signature) -> str:
    """Return the import of a function as $MODULE:NAME."""
    return f'(import "{module}" "{name}" (func ${module}:{name} {_type(ty)}))'


def signature(function: str) -> Signature:
    """Return the core signature of a function that the inset takes over."""
    if function.startswith("[resource-drop]"):
        return _DROP
    params, results = (FUNCTIONS.get(function) or PASSED_ON[function])[:2]
    return tuple(params.split()), tuple(results.split())


def _host(name: str, *, is_there: bool) -> str:
    """Return the import of a host function; for a resource that the guest lacks, a function that is never called."""
    params, result = SIGNATURES[name]
    flat = [core for ty in params for core in (("i32", "i32") if ty == "string" else ("i32",))]
    ty = tuple(flat), ("i32",) if result else ()
    return imported("host", name, ty) if is_there else _function("host", name, ty, "unreachable")


def _function(module: str, name: str, ty: Signature, body: str) -> str:
    return f"(func ${module}:{name} {_type(ty)} {body})"


def _taken(taken: Taken) -> str:
    if taken.function in FUNCTIONS:
        text = FUNCTIONS[taken.function][2]
        return text.replace("$SELF", f"${taken.name}").replace("$REAL", f"$real:{taken.name}")
    params, _, resource, waits = PASSED_ON[taken.function]
    arguments = [f"(local.get {number})" for number in range(len(params.split()))]
    if resource:
        arguments[0] = f"(call ${resource}:real {arguments[0]})"
    before = "(call $before_waiting) " if waits else ""
    call = f"(call $real:{taken.name} {' '.join(arguments)})"
    return f"(func ${taken.name} {_type(signature(taken.function))} {before}{call})"


def _filled(taken: Taken) -> str:
    table = "$more" if taken.in_place else "$imports"
    return f"(elem (table {table}) (i32.const {taken.slot}) func ${taken.name})"


def _type(ty: Signature) -> str:
    params, results = ty
    return f"(param {' '.join(params)}) (result {' '.join(results)})"
