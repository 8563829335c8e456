"""Panels lie in full lines, whatever panels there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dashboards.layout import COLUMNS, Place, laid_out
from dashboards.model import Panel, Row


def panel(width: int, height: int = 8) -> Panel:
    return Panel("stat", f"{width} x {height}", "", "short", "", (), width=width, height=height)


def places(*rows: list[Panel]) -> list[Place]:
    laid = laid_out([Row("a row", tuple(panels)) for panels in rows])
    return [place for each, place in laid if isinstance(each, Panel)]


SIZES = st.tuples(st.integers(1, COLUMNS), st.integers(1, 12))


@given(st.lists(st.lists(SIZES, min_size=1, max_size=12), min_size=1, max_size=4))
def test_lines_are_full_and_panels_apart(rows: list[list[tuple[int, int]]]) -> None:
    """Every column of every line belongs to one panel, which has its title's row above it."""
    taken: set[tuple[int, int]] = set()
    bottom = 0
    for each, place in laid_out([Row("a row", tuple(panel(*size) for size in sizes)) for sizes in rows]):
        cells = {(x, y) for x in range(place.x, place.x + place.width) for y in range(place.y, place.y + place.height)}
        assert cells
        assert not cells & taken
        taken |= cells
        bottom = max(bottom, place.y + place.height)
        if isinstance(each, Panel):
            assert place.width >= each.width
    assert len(taken) == COLUMNS * bottom


def test_a_full_line_is_as_it_is_wished() -> None:
    """What fits is neither stretched nor moved."""
    assert places([panel(16), panel(8)]) == [Place(0, 1, 16, 8), Place(16, 1, 8, 8)]


def test_a_panel_can_be_added_to_a_full_line() -> None:
    """It begins the next, and takes what there is."""
    assert places([panel(12), panel(12), panel(6)])[-1] == Place(0, 9, COLUMNS, 8)
