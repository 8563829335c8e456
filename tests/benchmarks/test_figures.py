"""From seconds to ratios, and to goals."""

from __future__ import annotations

import sys

import pytest

from benchmarks.figures import compare, spread
from benchmarks.goals import judged
from benchmarks.interleaving import rounds
from benchmarks.orders import Phase, Phases
from benchmarks.pace import Budget
from benchmarks.results import Goal, Group, Row, Spread
from benchmarks.variants import ALL, BY_NAME, available

SECONDS = {"none": (1.0, 10.0, 2.0), "sealed": (2.0, 10.0, 5.0), "fastmcp": (3.0, 30.0, 8.0)}
"""Of three rounds, the second of which was disturbed."""


def measured() -> dict[str, Row]:
    numbers = range(3)
    found = [
        {name: {"wall": seconds[number], "cpu": seconds[number]} for name, seconds in SECONDS.items()}
        for number in numbers
    ]
    return compare(found, {"none": None, "sealed": "none", "fastmcp": "none"})


def test_ratios_are_of_pairs() -> None:
    """The median of each round's ratio, not the ratio of two medians, with the quartiles around it."""
    row = measured()["sealed"]
    assert row.rounds == 3
    assert row.costs["cpu"].microseconds == Spread(median=5e6, low=3.5e6, high=7.5e6)
    assert row.costs["cpu"].ratio == Spread(median=2.0, low=1.5, high=2.25)


def test_a_baseline_has_no_ratio() -> None:
    """Only what it took."""
    assert measured()["none"].costs["wall"].ratio is None
    assert measured()["none"].costs["wall"].microseconds.median == 2e6


def test_one_round_has_no_spread() -> None:
    """Its figure is the median, and both quartiles."""
    assert spread([2.0]) == Spread(median=2.0, low=2.0, high=2.0)


def test_a_sample_has_both_phases_and_their_sum() -> None:
    """The whole path is the way in and the way out."""
    phases = Phases(into=Phase(wall=1, cpu=2), out=Phase(wall=4, cpu=8)).sample()
    assert phases == {"wall": 5, "cpu": 10, "into_wall": 1, "into_cpu": 2, "out_wall": 4, "out_cpu": 8}


def test_goals_stand_next_to_what_was_measured() -> None:
    """Those that are set, and to be ahead of FastMCP in the same group."""
    group = judged(Group(what="path", backend="valkey", at_a_time=50, rows=list(measured().values())))
    none, sealed, fastmcp = group.rows
    theirs = BY_NAME["fastmcp"].title
    assert none.goals == fastmcp.goals == []
    assert sealed.goals == [
        Goal(metric="wall", measured=2.0, limit=1.0),
        Goal(metric="cpu", measured=2.0, limit=1.07),
        Goal(metric="wall", measured=2.0, limit=3.0, strictly=True, of=theirs),
        Goal(metric="cpu", measured=2.0, limit=3.0, strictly=True, of=theirs),
    ]
    assert [goal.met for goal in sealed.goals] == [False, False, True, True]


def test_alone_only_fastmcp_is_to_be_beaten() -> None:
    """The goals for the whole path are for 50 and 500 at a time."""
    group = judged(Group(what="path", backend="valkey", at_a_time=1, rows=list(measured().values())))
    assert {goal.of for goal in group.rows[1].goals} == {BY_NAME["fastmcp"].title}


@pytest.mark.parametrize(("strictly", "met"), [(False, True), (True, False)])
def test_a_goal_that_is_just_reached(strictly: bool, met: bool) -> None:
    """Is met, unless the figure was to be below."""
    assert Goal(metric="cpu", measured=1.07, limit=1.07, strictly=strictly).met is met


def test_everybody_runs_once_in_each_round_and_not_always_in_the_same_order() -> None:
    """So nobody always runs after the same one."""
    ran: list[str] = []
    names = [variant.name for variant in ALL]
    found = rounds(Budget(0, 5), {name: lambda name=name: {"wall": float(ran.append(name) or 1)} for name in names})
    orders = [tuple(ran[start : start + len(names)]) for start in range(0, len(ran), len(names))]
    assert len(found) == len(set(orders)) == 5
    assert all(sorted(order) == sorted(names) for order in orders)


def test_without_fastmcp_its_path_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is measured all the same."""
    assert "fastmcp" in {variant.kind for variant in available()}
    monkeypatch.setitem(sys.modules, "fastmcp_tasks", None)
    assert {variant.kind for variant in available()} == {"none", "taskctx"}
