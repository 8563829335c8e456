"""One colour for each outcome, reason and result, the same on every board: what fails is never green.

Good and bad differ in lightness too, so that eyes which do not tell red from green tell them apart.
"""

from __future__ import annotations

from taskctx.errors import Reason
from taskctx.operations import Outcome
from taskctx.telemetry.names import TraceResult

from .model import Color, Thresholds

GOOD: Color = "light-green"
WORSE: Color = "orange"
BAD: Color = "dark-red"

ALARM: Thresholds = ((None, "transparent"), (1.0, BAD))
"""For the cells of a table in which any number above 0 is bad."""

NONE: tuple[str, Color] = ("none", GOOD)
"""The name and colour of the zero that :func:`.promql.or_none` adds."""

OUTCOMES: tuple[tuple[str, Color], ...] = (
    (Outcome.OK, GOOD),
    (Outcome.DEGRADED, "yellow"),
    (Outcome.PARTIAL, "yellow"),
    (Outcome.FAILED, BAD),
    (Outcome.EMPTY, "blue"),
    (Outcome.SKIPPED, "blue"),
)

_BY_REASON: dict[Reason, Color] = {
    # gone, or the server's
    Reason.MISSING: "red",
    Reason.BACKEND_TIMEOUT: "orange",
    Reason.BACKEND_ERROR: "dark-red",
    # keys, and what is not what it should be
    Reason.DECRYPT_UNKNOWN_KEY: "purple",
    Reason.DECRYPT_FAILED: "dark-purple",
    Reason.PLAINTEXT_REFUSED: "light-purple",
    Reason.MALFORMED: "light-red",
    Reason.SCHEMA_UNSUPPORTED: "dark-blue",
    Reason.SCOPE_MISMATCH: "super-light-purple",
    # the caller's own
    Reason.TOO_LARGE: "super-light-orange",
    Reason.CREDENTIAL_EXPIRED: "yellow",
    Reason.CREDENTIAL_REFRESH_FAILED: "dark-yellow",
    Reason.CARRIED_INVALID: "light-orange",
    Reason.CARRIED_REQUIRED: "dark-orange",
    # a worker's
    Reason.NOT_RESTORED: "super-light-red",
    Reason.ANONYMOUS: "semi-dark-orange",
    Reason.INTERNAL: "light-blue",
}
REASONS: tuple[tuple[str, Color], ...] = (*((reason, _BY_REASON[reason]) for reason in Reason), NONE)

TRACES: tuple[tuple[str, Color], ...] = (
    (TraceResult.CONTINUED, GOOD),
    (TraceResult.UNSAMPLED, "blue"),
    (TraceResult.ABSENT, "orange"),
    (TraceResult.INVALID, BAD),
)

QUANTILES: tuple[tuple[str, Color], ...] = (("p50", "blue"), ("p95", "orange"), ("p99", "red"))
REMAINING: tuple[tuple[str, Color], ...] = (("p10", "red"), ("p50", "blue"))
"""For quantiles of which a low one is bad."""

_DARKER: dict[Color, Color] = {GOOD: "green", "orange": "dark-orange", "red": "dark-red", "blue": "dark-blue"}


def by_registry(**words: Color) -> tuple[tuple[str, Color], ...]:
    """Colours for ``session hit`` and ``server hit``: the second has a darker shade."""
    return tuple(
        (f"{registry} {word}", color if registry == "session" else _DARKER[color])
        for word, color in words.items()
        for registry in ("session", "server")
    )
