"""The C half of `signal`, which turns every number into an enumeration when it is imported: 3 ms.

What it hands out are plain numbers. Type checkers are shown the whole module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import *  # noqa: F403
else:
    from _signal import *  # noqa: F403
