"""Whose turn it is: rounds of the same tasks in the children, on one server."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import distributions
from itertools import groupby

from .children import BenchmarkError, Children
from .figures import Rounds, Sample, in_turn
from .pace import Pace
from .variants import THIS, TRACED, Variant

AT_A_TIME = 50
"""The tasks under way in measurements that do not vary this number."""

PACKAGES = ("pydocket", "redis", "hiredis", "cryptography", "pydantic", "opentelemetry-sdk", "fastmcp-tasks")


def say(what: str) -> None:
    sys.stderr.write(f"measuring {what}\n")


def about(children: Children, pace: Pace) -> str:
    """The line that says where and how the figures were measured."""
    found = {each.metadata["name"]: each.version for each in distributions()}
    versions = ", ".join(f"{name} {found[name]}" for name in PACKAGES if name in found)
    pinned = "pinned to one core, the server on another" if children.core is not None else "not pinned to cores"
    python, cold = f"{platform.python_implementation()} {platform.python_version()}", ", cold" * pace.cold
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}; {python}; {versions}; "
        f"{datetime.now(UTC).date()}. {pace.rounds} rounds ({pace.name}{cold}), {pinned}; load before the run "
        f"{os.getloadavg()[0]:.1f}. Medians, with quartiles, of one task, submitted and run; "
        "a figure with a sign is the difference from Docket without context, traced the same way, in the same round."
    )


def named(variant: Variant, tree: str = THIS) -> str:
    """The name of a tree's variant in the rounds."""
    return variant.name if tree == THIS else f"{tree} {variant.name}"


def turn(children: Children, variant: Variant, do: str, tree: str = THIS, **order: object) -> Callable[[], Sample]:
    return partial(children.ask, variant, do, tree, **order)


def tasks(
    children: Children, pace: Pace, variants: Sequence[Variant], trees: Sequence[str] = (THIS,)
) -> dict[int, Rounds]:
    """Rounds of tasks that are submitted and run, by how many are under way at a time."""

    def block(each: Variant) -> tuple[str, bool]:
        """The process and the server of a variant: variants are compared within one of each."""
        return each.process, each.memory

    def turns(**order: int) -> list[dict[str, Callable[[], Sample]]]:
        return [
            {named(each, tree): turn(children, each, "tasks", tree, **order) for each in together}
            for tree in trees
            for _, together in groupby(sorted(variants, key=block), key=block)
        ]

    say("nothing yet: every variant runs once")
    in_turn(1, turns(tasks=pace.warm_up, at_a_time=AT_A_TIME))
    for tree in trees:
        for variant in variants:
            children.ask(variant, "freeze", tree)
    found: dict[int, Rounds] = {}
    for at_a_time, number in pace.tasks.items():
        say(f"tasks, {at_a_time} at a time")
        found[at_a_time] = in_turn(pace.rounds, turns(tasks=number, at_a_time=at_a_time, cold=pace.cold))
    if TRACED in variants and not children.spans:
        raise BenchmarkError("no spans arrived at the sink: nothing was traced")
    return found
