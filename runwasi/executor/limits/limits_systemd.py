"""Translates limits into systemd's properties, beside the files that hold them.

systemd rewrites a scope's limits from its own properties, so it must know each limit that it has a property
for. Source: man 5 systemd.resource-control, org.freedesktop.systemd1; runc's choice of them.
"""

from __future__ import annotations

from runwasi.engines.annotation_names import SYSTEMD_PROPERTY
from runwasi.engines.annotations import path_of
from runwasi.executor.limits.limit_parts import ROOT
from runwasi.executor.limits.limits_v1 import pids_max
from runwasi.executor.limits.limits_v2 import cpu_weight, swap_max
from runwasi.executor.usage.cgroup_files import number_list
from runwasi.oci.decode import SpecError
from runwasi.oci.record import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.linux.cgroups.units import Property, Variant
    from runwasi.oci.resources import Cpu, Memory, Resources

_INFINITY = (1 << 64) - 1
_SECOND = 1_000_000  # microseconds
_PERCENT = 10_000  # of a second, in microseconds
_DEFAULT_PERIOD = 100_000
_IDLE = ("CPUWeight", ("t", 0))  # systemd's word for cpu.idle, since 252
_UNIFIED_SIZES = {
    "cpu.weight": "CPUWeight",
    "memory.min": "MemoryMin",
    "memory.low": "MemoryLow",
    "memory.high": "MemoryHigh",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}
_UNIFIED_LISTS = {
    "cpuset.cpus": "AllowedCPUs",
    "cpuset.mems": "AllowedMemoryNodes",
}


def properties(resources: Resources, version: int) -> list[Property]:
    """Return the properties for these limits under a cgroup version."""
    found: list[Property] = []
    if resources.memory is not None:
        found += _memory(resources.memory, version)
    if resources.cpu is not None:
        found += _cpu(resources.cpu, version)
    if resources.pids is not None:
        found.append(("TasksMax", ("t", _size(pids_max(resources.pids.limit)))))
    if version == 1 and resources.block_io is not None and resources.block_io.weight:
        found.append(("BlockIOWeight", ("t", resources.block_io.weight)))
    return found + _unified(resources.unified)


def in_whole_percents(resources: Resources) -> Resources:
    """Return the limits with the CPU quota rounded as systemd does, which would overwrite any other."""
    cpu = resources.cpu
    if cpu is None or not cpu.quota or cpu.quota < 0:
        return resources
    period = cpu.period or _DEFAULT_PERIOD
    quota = _quota_per_second(cpu.quota, period) * period // _SECOND
    return replaced(resources, cpu=replaced(cpu, quota=quota))


def annotated(annotations: Mapping[str, str]) -> list[Property]:
    """Return the properties that annotations "org.systemd.property.NAME" ask for.

    Values are written as GVariant text: "'a'", "true", "uint32 5", "['a', 'b']". A number for a NAME that ends
    in Sec is in seconds, for systemd's NAME in USec. Raises SpecError.
    """
    found: list[Property] = []
    for key, text in annotations.items():
        name = key.removeprefix(SYSTEMD_PROPERTY)
        if name == key:
            continue
        path = path_of(key)
        if len(name) < 3 or not (name.isascii() and name.isalpha()):
            raise SpecError(path, "does not name a property of systemd's")
        kind, value = _variant(text.strip(), path)
        if name.endswith("Sec") and name[-4:-3].islower():
            if kind not in "nqiuxtd":
                raise SpecError(path, "must be a number of seconds")
            name, kind, value = name[:-3] + "USec", "t", int(value * _SECOND)
        found.append((name, (kind, value)))
    return found


def _memory(memory: Memory, version: int) -> list[Property]:
    found: list[Property] = []
    if memory.limit:
        name = "MemoryMax" if version == 2 else "MemoryLimit"
        found.append((name, ("t", memory.limit & _INFINITY)))
    if version == 2:
        if memory.reservation:
            found.append(("MemoryLow", ("t", memory.reservation & _INFINITY)))
        swap = swap_max(memory)
        if swap is not None:
            found.append(("MemorySwapMax", ("t", _size(swap))))
    return found


def _cpu(cpu: Cpu, version: int) -> list[Property]:
    found: list[Property] = []
    if cpu.idle == 1 and version == 2:
        found.append(_IDLE)
    elif cpu.shares:
        found.append(("CPUWeight", ("t", cpu_weight(cpu.shares))) if version == 2 else _shares(cpu.shares))
    if cpu.period:
        found.append(("CPUQuotaPeriodUSec", ("t", cpu.period)))
    if cpu.quota or cpu.period:
        found.append(("CPUQuotaPerSecUSec", ("t", _quota_per_second(cpu.quota or 0, cpu.period or 0))))
    if cpu.cpus:
        found.append(("AllowedCPUs", ("ay", bitmap(cpu.cpus))))
    if cpu.mems:
        found.append(("AllowedMemoryNodes", ("ay", bitmap(cpu.mems))))
    return found


def _shares(shares: int) -> Property:
    return ("CPUShares", ("t", shares))


def _quota_per_second(quota: int, period: int) -> int:
    """Return CPU time per second, rounded up to whole percents: systemd keeps nothing finer."""
    if quota <= 0:
        return _INFINITY
    return -(-quota * _SECOND // (period or _DEFAULT_PERIOD) // _PERCENT) * _PERCENT


def bitmap(listing: str) -> bytes:
    """Turn a list such as "0-2,9" into systemd's bitmap: bit n of byte n / 8."""
    bits = sum(1 << number for number in set(number_list(listing)))
    return bits.to_bytes(max(1, (bits.bit_length() + 7) // 8), "little")


def _unified(unified: Mapping[str, str]) -> list[Property]:
    found: list[Property] = []
    for file, text in unified.items():
        if file == "cpu.weight" and _IDLE in found:
            continue  # it is the same property
        found += _properties_of_file(file, text.strip())
    return found


def _properties_of_file(file: str, value: str) -> list[Property]:
    """Return the properties for a file of version 2; none for a file that systemd has no property for."""
    if file == "cpu.idle":
        return [_IDLE] if value == "1" else []
    if file == "cpu.max":
        return _bandwidth(value)
    if file in _UNIFIED_SIZES:
        return [(_UNIFIED_SIZES[file], ("t", _size(value, file)))]
    if file in _UNIFIED_LISTS:
        return [(_UNIFIED_LISTS[file], ("ay", bitmap(value)))]
    return []


def _bandwidth(value: str) -> list[Property]:
    """Return the properties for cpu.max: a quota or "max", and perhaps a period."""
    quota, _, period = value.partition(" ")
    length = _size(period or str(_DEFAULT_PERIOD), "cpu.max")
    limit = 0 if quota == "max" else _size(quota, "cpu.max")
    return [
        ("CPUQuotaPeriodUSec", ("t", length)),
        ("CPUQuotaPerSecUSec", ("t", _quota_per_second(limit, int(period or 0)))),
    ]


def _size(text: str, file: str = "") -> int:
    if text == "max":
        return _INFINITY
    if not (text.isascii() and text.isdigit()):
        raise SpecError(f"{ROOT}.unified[{file!r}]", f"must be a number or max, not {text!r}")
    return int(text)


_NUMBERS = {
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
}


def _variant(text: str, path: str) -> Variant:
    """Parse the part of GVariant's text format that properties need. Raises SpecError."""
    if text in ("true", "false"):
        return "b", text == "true"
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) >= 2:
        return "s", _unquoted(text, path)
    found = _array(text, path) or _number(text)
    if found is None:
        raise _unreadable(text, path)
    return found


def _array(text: str, path: str) -> Variant | None:
    """Parse an array such as "['a', 'b']"; return None if it is no array, or its items differ in type."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    items = [_variant(item, path) for item in _items(text[1:-1])]
    kinds = {kind for kind, _ in items} or {"s"}
    return (f"a{kinds.pop()}", [value for _, value in items]) if len(kinds) == 1 else None


def _number(text: str) -> Variant | None:
    """Parse a number, with or without its type: "uint32 5", "5", "0.5"; return None if it is none."""
    kind, _, number = text.rpartition(" ")
    signature = _NUMBERS.get(kind.strip()) if kind else ("d" if "." in number else "i")
    if signature is None:
        return None
    try:
        return signature, float(number) if signature == "d" else int(number, 0)
    except ValueError:
        return None


def _items(text: str) -> list[str]:
    """Split at the commas outside of quotes; leave out empty items, and do not split at all if a quote stays open."""
    import re  # late: few properties are lists

    part = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,'"]"""
    if not re.fullmatch(rf"(?:{part}|,)*", text):
        return [text]
    return [item for match in re.findall(rf"(?:{part})+", text) if (item := match.strip())]


def _unquoted(text: str, path: str) -> str:
    inside = text[1:-1]
    if text[0] in inside.replace(f"\\{text[0]}", ""):
        raise _unreadable(text, path)
    return inside.replace(f"\\{text[0]}", text[0]).replace("\\\\", "\\")


def _unreadable(text: str, path: str) -> SpecError:
    return SpecError(path, f"is not a value in GVariant's text format: {text!r}")
