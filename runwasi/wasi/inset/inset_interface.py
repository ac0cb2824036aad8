"""The names and types that a component with the inset imports and exports for it."""

from __future__ import annotations

HOST = "runwasi:http/inset"
"""The interface that a component with the inset imports."""
ANSWER = "runwasi-answer"
"""The function that it exports: the status, the size of the lines, lines and body; see inset_common.py."""

SIGNATURES: dict[str, tuple[tuple[str, ...], str]] = {
    # name: WIT's types of the parameters, and of the result
    "request": ((), "own incoming-request"),
    "outparam": ((), "own response-outparam"),
    "fields": (("string",), "own fields"),
    "response": (("u16", "string"), "own outgoing-response"),
    "respond": (("u16", "string"), "own outgoing-body"),
    "respond-without-body": (("u16", "string"), ""),
    "body": (("borrow outgoing-response",), "own outgoing-body"),
    "stream": (("borrow outgoing-body", "string", "bool"), "own output-stream"),
    "finish": (("own outgoing-body",), ""),
}
