"""The C half of `signal`, without the other half, which turns all numbers into enumerations: 3 ms.

Its constants are plain numbers. Type checkers see the whole module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import *  # noqa: F403
else:
    from _signal import *  # noqa: F403
