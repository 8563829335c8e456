"""What is compared, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the same tasks.

    Attributes:
        name: in orders and in JSON.
        title: in tables.
        kind: who carries the caller: nobody, taskctx, or FastMCP's own functions; or a ``step``, which carries a part.
        baseline: the variant that its ratios are to; None for one that is a baseline.
        encrypted: whether what is stored is.
        metrics: whether taskctx counts.
        instrumented: FastMCP's path with ``taskctx.fastmcp.instrument()`` active.
        sampling: the part of traces that the SDK records; None where there is no SDK.
        frozen: what was imported is out of the garbage collector's sight (``gc.freeze``).  A full collection of it
            takes 50 ms, and with FastMCP 120, and comes once in a thousand tasks or two: it would be most of what a
            round differs by from the next.
        ours: whether the goals are for it.
    """

    name: str
    title: str
    kind: str
    baseline: str | None = None
    encrypted: bool = False
    metrics: bool = True
    instrumented: bool = False
    sampling: float | None = None
    frozen: bool = True

    @property
    def ours(self) -> bool:
        return self.kind == "taskctx"


NONE = Variant("none", "Docket, no context", "none")
PLAIN = Variant("plain", "taskctx, plain", "taskctx", "none")
SEALED = Variant("sealed", "taskctx, sealed", "taskctx", "none", encrypted=True)
NONE_TRACED = Variant("none_traced", "Docket, no context, traced 100 %", "none", sampling=1.0)
SEALED_TRACED = Variant(
    "sealed_traced", "taskctx, sealed, traced 100 %", "taskctx", "none_traced", encrypted=True, sampling=1.0
)
NONE_SAMPLED = Variant("none_sampled", "Docket, no context, traced 1 %", "none", sampling=0.01)
SEALED_SAMPLED = Variant(
    "sealed_sampled", "taskctx, sealed, traced 1 %", "taskctx", "none_sampled", encrypted=True, sampling=0.01
)
FASTMCP = Variant("fastmcp", "FastMCP's own path", "fastmcp", "none")
FASTMCP_ENCRYPTED = Variant("fastmcp_encrypted", "FastMCP's own path, encrypted", "fastmcp", "none", encrypted=True)
FASTMCP_INSTRUMENTED = Variant(
    "fastmcp_instrumented", "FastMCP's own path, instrumented", "fastmcp", "none", instrumented=True
)

ALL = (
    NONE,
    PLAIN,
    SEALED,
    NONE_TRACED,
    SEALED_TRACED,
    NONE_SAMPLED,
    SEALED_SAMPLED,
    FASTMCP,
    FASTMCP_ENCRYPTED,
    FASTMCP_INSTRUMENTED,
)

IDLE = Variant("idle", "and a dependency of the worker that does nothing", "step", "none")
JOURNEYS = Variant("journeys", "and SET, GET, EXPIRE, together with those of others", "step", "none")
LIBRARIES = Variant("libraries", "and JSON, AES-GCM, a token that is validated", "step", "none", encrypted=True)
SILENT = Variant("silent", "taskctx, sealed, without its metrics", "taskctx", "none", encrypted=True, metrics=False)
NONE_THAWED = Variant("none_thawed", "Docket, no context, without gc.freeze()", "none", "none", frozen=False)
SEALED_THAWED = Variant(
    "sealed_thawed", "taskctx, sealed, without gc.freeze()", "taskctx", "none", encrypted=True, frozen=False
)
BY_STEPS = (
    NONE,
    IDLE,
    JOURNEYS,
    LIBRARIES,
    SILENT,
    SEALED,
    FASTMCP,
    FASTMCP_INSTRUMENTED,
    NONE_TRACED,
    SEALED_TRACED,
    NONE_THAWED,
    SEALED_THAWED,
)
"""From Docket to taskctx, from FastMCP to FastMCP instrumented, the same traced, and where nothing is frozen."""

BY_NAME = {variant.name: variant for variant in (*ALL, *BY_STEPS)}


def available(variants: tuple[Variant, ...] = ALL) -> tuple[Variant, ...]:
    """Those that can be run here: FastMCP's only where it is installed."""
    return tuple(variant for variant in variants if variant.kind != "fastmcp" or fastmcp_is_here())


def fastmcp_is_here() -> bool:
    return find_spec("fastmcp_tasks") is not None
