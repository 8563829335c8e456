"""From what variants took in each round to medians, ratios and differences."""

from __future__ import annotations

import math
from functools import partial

from benchmarks.figures import Sample, Spread, added, in_turn, ratio, ratio_added, spread, taken

CPU = {"none": (1.0, 10.0, 2.0), "ours": (2.0, 15.0, 5.0), "old none": (1.0, 8.0, 2.0), "old ours": (5.0, 18.0, 8.0)}
"""Of three rounds, the second of which was disturbed."""

ROUNDS = [{name: {"cpu": cpu[number]} for name, cpu in CPU.items()} for number in range(3)]


def test_figures_are_of_pairs() -> None:
    """The median of each round's ratio or difference, not of two medians, with the quartiles around it."""
    assert taken(ROUNDS, "ours") == Spread(median=5.0, low=3.5, high=10.0)
    assert ratio(ROUNDS, "ours", "none") == Spread(median=2.0, low=1.75, high=2.25)
    assert added(ROUNDS, "ours", "none") == Spread(median=3.0, low=2.0, high=4.0)


def test_what_is_added_is_compared_round_by_round() -> None:
    """1 of 4, 5 of 10 and 3 of 6: each revision's addition is to its own baseline."""
    assert ratio_added(ROUNDS, ("ours", "none"), ("old ours", "old none")) == Spread(median=0.5, low=0.375, high=0.5)


def test_a_round_in_which_nothing_was_added_has_no_ratio() -> None:
    """The other rounds have; without any, there is no figure, and no error."""
    free = {"none": {"cpu": 3.0}, "ours": {"cpu": 4.0}, "old none": {"cpu": 3.0}, "old ours": {"cpu": 3.0}}
    pairs = ("ours", "none"), ("old ours", "old none")
    assert ratio_added([*ROUNDS, free], *pairs) == ratio_added(ROUNDS, *pairs)
    assert math.isnan(ratio_added([free], *pairs).median)


def test_one_round_has_no_spread() -> None:
    """Its figure is the median, and both quartiles."""
    assert spread([2.0]) == Spread(median=2.0, low=2.0, high=2.0)


def test_all_run_once_in_each_round_and_in_changing_orders() -> None:
    """What is compared runs right after one another, and none always runs after the same one."""
    ran: list[str] = []

    def run(name: str) -> Sample:
        ran.append(name)
        return {"cpu": float(len(ran))}

    blocks = [{name: partial(run, name) for name in names} for names in ("abc", "de")]
    rounds = in_turn(8, blocks)
    orders = ["".join(ran[start : start + 5]) for start in range(0, 40, 5)]
    assert all(sorted(order) == list("abcde") for order in orders)
    assert all({*order[:2]} == {*"de"} or {*order[3:]} == {*"de"} for order in orders)
    assert len(set(orders)) > 4
    assert [sorted(each) for each in rounds] == [list("abcde")] * 8
    assert rounds[0][ran[0]] == {"cpu": 1.0}
