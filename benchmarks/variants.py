"""What is measured, and what each is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

MEMORY = "memory://"
THIS, OLD = "this", "old"
"""The trees: this one, and another revision's."""

SAMPLING: dict[str, float] = {"traced": 1.0, "sampled": 0.01}
"""The part of traces that is recorded, in the processes that have OpenTelemetry's SDK."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the same tasks.

    Attributes:
        path: how the caller comes to a task: ``none``, ``taskctx`` or ``fastmcp``.
        against: the name of the variant that it is compared with, in the same process; empty for a baseline.
        process: the child that it runs in: ``bare``, ``traced``, ``sampled``, or ``fastmcp``.
        options: of its path.
    """

    name: str
    title: str
    path: str
    against: str = ""
    process: str = "bare"
    options: tuple[str, ...] = ()
    memory: bool = False


_SEALED = ("encrypted", "metrics")

NONE = Variant("none", "Docket, no context", "none")
PLAIN = Variant("plain", "taskctx, plain", "taskctx", "none", options=("metrics",))
SEALED = Variant("sealed", "taskctx, sealed", "taskctx", "none", options=_SEALED)
NONE_SAMPLED = Variant("none-sampled", "Docket, no context, traced 1 %", "none", process="sampled")
SAMPLED = Variant("sampled", "taskctx, sealed, traced 1 %", "taskctx", "none-sampled", "sampled", _SEALED)
NONE_TRACED = Variant("none-traced", "Docket, no context, traced 100 %", "none", process="traced")
TRACED = Variant("traced", "taskctx, sealed, traced 100 %", "taskctx", "none-traced", "traced", _SEALED)
BESIDE = Variant("none-fastmcp", "Docket, no context, FastMCP imported", "none", process="fastmcp")
FASTMCP = Variant("fastmcp", "FastMCP's own path", "fastmcp", "none-fastmcp", "fastmcp")
ENCRYPTED = Variant("encrypted", "FastMCP's own path, encrypted", "fastmcp", "none-fastmcp", "fastmcp", ("encrypted",))
INSTRUMENTED = Variant(
    "instrumented", "FastMCP instrumented: more than its own path", "fastmcp", "fastmcp", "fastmcp", ("instrumented",)
)
NONE_IN_MEMORY = Variant("none-memory", "Docket on memory://, no context", "none", memory=True)
IN_MEMORY = Variant("memory", "taskctx on memory://, sealed", "taskctx", "none-memory", options=_SEALED, memory=True)

TRACING = (NONE_SAMPLED, SAMPLED, NONE_TRACED, TRACED)
ALL = (NONE, PLAIN, SEALED, *TRACING, BESIDE, FASTMCP, ENCRYPTED, INSTRUMENTED, NONE_IN_MEMORY, IN_MEMORY)

DEPENDENCY = Variant("dependency", "Docket, an idle dependency", "none", "none", options=("dependency",))
UNCOUNTED = Variant("uncounted", "taskctx, plain, without its metrics", "taskctx", "none")
STEPS = (NONE, DEPENDENCY, UNCOUNTED, PLAIN, SEALED, *TRACING, BESIDE, FASTMCP, INSTRUMENTED)
"""The steps from Docket to taskctx, and tracing and FastMCP."""

COUNTED = (SEALED, TRACED, INSTRUMENTED)
"""The variants whose instructions are counted."""

SUMMARY = (NONE, PLAIN, SEALED, SAMPLED, TRACED, FASTMCP, ENCRYPTED, INSTRUMENTED)
"""The rows of the README's table."""

BY_NAME = {variant.name: variant for variant in (*ALL, *STEPS)}


def runnable(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """The variants and their baselines, in the order of the tables; FastMCP's only where it is installed."""
    wanted = set(variants)
    while missing := {BY_NAME[each.against] for each in wanted if each.against} - wanted:
        wanted |= missing
    here = find_spec("fastmcp_tasks") is not None
    return tuple(each for each in BY_NAME.values() if each in wanted and (here or each.process != "fastmcp"))
