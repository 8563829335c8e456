"""Where the time goes: tasks with more and more of what a context costs, and whose instructions that takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import machine
from .campaign import Say, warm_up
from .children import Children
from .figures import Sample, compare
from .interleaving import rounds
from .orders import Count, Counted, Phases, Round
from .pace import Pace
from .results import Breakdown, Group, Part
from .variants import (
    BY_STEPS,
    FASTMCP,
    FASTMCP_INSTRUMENTED,
    NONE,
    NONE_TRACED,
    SEALED,
    SEALED_TRACED,
    Variant,
    available,
)

COUNTED = ((SEALED, NONE), (SEALED_TRACED, NONE_TRACED), (FASTMCP_INSTRUMENTED, FASTMCP))
"""Whose instructions are counted, but for those of the SDK's own thread, and what they are added to."""

AT_A_TIME = (1, 50)
"""Instructions of a task depend on how many travel together, and beyond 50 not by much."""


def run_breakdown(pace: Pace, say: Say) -> Breakdown:
    """Measure it, on Valkey.

    Args:
        pace: how much.
        say: told what is being measured.

    Raises:
        BenchmarkError: something could not be measured, or a task saw another caller than its own.
    """
    began = time.monotonic()
    variants = available(BY_STEPS)
    with Children() as children:
        about = machine.describe(children.url)
        say("starting a process for each step")
        warm_up(children, variants, pace, (children.url,))
        groups = [_steps(children, variants, pace, at_a_time, say) for at_a_time in pace.tasks]
        parts = [
            _part(children, pair, at_a_time, pace.counted, say)
            for at_a_time in AT_A_TIME
            for pair in COUNTED
            if pair[0] in variants
        ]
    return Breakdown(
        machine=about,
        seconds=round(time.monotonic() - began, 1),
        groups=groups,
        parts=parts,
        notes=machine.disturbances(about),
    )


def _steps(children: Children, variants: tuple[Variant, ...], pace: Pace, at_a_time: int, say: Say) -> Group:
    say(f"the steps, {at_a_time} at a time")
    order = Round(url=children.url, tasks=pace.tasks[at_a_time], at_a_time=at_a_time)

    def contender(variant: Variant) -> Callable[[], Sample]:
        return lambda: children.of(variant).ask(order, Phases).sample()

    samples = rounds(pace.steps, {variant.name: contender(variant) for variant in variants})
    baselines = {variant.name: variant.baseline for variant in variants}
    if FASTMCP_INSTRUMENTED in variants:
        baselines[FASTMCP_INSTRUMENTED.name] = FASTMCP.name
    rows = compare(samples, baselines)
    return Group(what="steps", backend="valkey", at_a_time=at_a_time, rows=list(rows.values()))


def _part(children: Children, pair: tuple[Variant, Variant], at_a_time: int, tasks: int, say: Say) -> Part:
    with_it, without = pair
    say(f"instructions of {with_it.title}, {at_a_time} at a time")
    order = Count(url=children.url, tasks=tasks, at_a_time=at_a_time)
    more, less = (children.of(variant).ask(order, Counted).instructions for variant in (with_it, without))
    return Part(
        name=with_it.name,
        against=without.name,
        at_a_time=at_a_time,
        instructions={part: more[part] - less[part] for part in more},
    )
