"""Starts, changes and stops systemd's transient scopes over D-Bus.

Each use opens its own connection: a server that runs for weeks would otherwise have to follow every restart of
the bus, and operations on scopes are rare. Source: man 5 org.freedesktop.systemd1.
"""

from __future__ import annotations

import os
from errno import EACCES, EEXIST, EREMOTEIO, ESRCH, ETIMEDOUT

from jeepney import DBusAddress, MatchRule, MessageType, Properties, message_bus, new_method_call
from jeepney.auth import AuthenticationError
from jeepney.io.blocking import open_dbus_connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self, TypeAlias

    Variant: TypeAlias = tuple[str, Any]
    Property: TypeAlias = tuple[str, Variant]

_MANAGER = DBusAddress(
    "/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager"
)
_SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
_SECONDS = 30.0
_ERRNOS = {
    "org.freedesktop.systemd1.UnitExists": EEXIST,
    "org.freedesktop.systemd1.NoSuchUnit": ESRCH,
    "org.freedesktop.DBus.Error.AccessDenied": EACCES,
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired": EACCES,
}


class UnitManager:
    """A connection to systemd, with user to the user's own; a context manager. Methods raise OSError."""

    def __init__(self, *, user: bool = False) -> None:
        address = _user_bus() if user else os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", _SYSTEM_BUS)
        self._subscribed = False
        try:
            self._bus = open_dbus_connection(address, auth_timeout=_SECONDS)
        except TimeoutError:
            raise OSError(ETIMEDOUT, "the message bus does not answer", address) from None
        except AuthenticationError:
            raise OSError(EACCES, "the message bus refuses us", address) from None
        except OSError as error:
            raise OSError(
                error.errno or EREMOTEIO, "cannot connect to systemd's message bus", address
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bus.close()

    def start(self, unit: str, properties: Sequence[Property]) -> None:
        """Start a transient unit and wait until it runs."""
        arguments: tuple[object, ...] = (unit, "fail", list(properties), [])
        try:
            self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments, unit)
        except FileExistsError:
            # systemd keeps a failed unit of that name until it is reset; a running one still refuses.
            self._call("ResetFailedUnit", "s", (unit,), unit)
            self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", arguments, unit)

    def stop(self, unit: str) -> None:
        """Stop a unit, and wait until it is gone; it may be gone already."""
        try:
            self._job("StopUnit", "ss", (unit, "replace"), unit)
        except ProcessLookupError:
            return
        try:
            self._call("ResetFailedUnit", "s", (unit,), unit)
        except ProcessLookupError:
            return  # it did not fail

    def set_properties(self, unit: str, properties: Sequence[Property]) -> None:
        """Change a running unit's properties, until it ends."""
        self._call("SetUnitProperties", "sba(sv)", (unit, True, list(properties)), unit)

    def attach(self, unit: str, pid: int) -> None:
        """Move a process into a unit's cgroup."""
        self._call("AttachProcessesToUnit", "ssau", (unit, "", [pid]), unit)

    def control_group(self) -> str:
        """Return the path of the manager's own cgroup, below which its units are; "" for the root."""
        reply = self._bus.send_and_get_reply(Properties(_MANAGER).get("ControlGroup"), timeout=_SECONDS)
        (_, path) = _checked(reply, "ControlGroup")[0]
        return str(path)

    def property_of(self, unit: str, interface: str, name: str) -> Any:
        """Return a property of a unit, for example of its interface "Scope"."""
        path = self._call("GetUnit", "s", (unit,), unit)[0]
        address = DBusAddress(path, _MANAGER.bus_name, f"org.freedesktop.systemd1.{interface}")
        reply = self._bus.send_and_get_reply(Properties(address).get(name), timeout=_SECONDS)
        return _checked(reply, f"{unit} {name}")[0][1]

    def _job(self, method: str, signature: str, arguments: tuple[object, ...], unit: str) -> None:
        """Request a job, and wait for its end, which systemd signals."""
        ended = MatchRule(
            type="signal", interface=_MANAGER.interface, member="JobRemoved", path=_MANAGER.object_path
        )
        if not self._subscribed:
            _checked(self._bus.send_and_get_reply(message_bus.AddMatch(ended), timeout=_SECONDS), unit)
            self._call("Subscribe", "", (), unit)  # without subscribers it sends no signals
            self._subscribed = True
        with self._bus.filter(ended, bufsize=64) as signals:
            (job,) = self._call(method, signature, arguments, unit)
            while True:
                try:
                    signal = self._bus.recv_until_filtered(signals, timeout=_SECONDS)
                except TimeoutError:
                    raise OSError(ETIMEDOUT, "systemd did not finish the job", f"{method} {unit}") from None
                _, path, _, result = signal.body
                if path == job:
                    break
        if result != "done":
            raise OSError(EREMOTEIO, f"systemd's job ended as {result!r}", f"{method} {unit}")

    def _call(self, method: str, signature: str, arguments: tuple[object, ...], unit: str) -> tuple[Any, ...]:
        message = new_method_call(_MANAGER, method, signature or None, arguments)
        try:
            reply = self._bus.send_and_get_reply(message, timeout=_SECONDS)
        except TimeoutError:
            raise OSError(ETIMEDOUT, "systemd does not answer", f"{method} {unit}") from None
        return _checked(reply, f"{method} {unit}")


def _checked(reply: Any, what: str) -> tuple[Any, ...]:
    """Return a reply's body, or raise its error as OSError."""
    if reply.header.message_type is MessageType.error:
        name = str(reply.header.fields.get(4, ""))  # HeaderFields.error_name
        text = str(reply.body[0]) if reply.body else name
        raise OSError(_ERRNOS.get(name, EREMOTEIO), f"systemd: {text}", what)
    body: tuple[Any, ...] = reply.body
    return body


def _user_bus() -> str:
    """Return the address of the user's bus, as sd_bus_open_user(3) finds it."""
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    if address:
        return address
    runtime_folder = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return f"unix:path={runtime_folder}/bus"
