"""What the pages say in tables and numbers is so."""

from __future__ import annotations

import re
from itertools import chain, pairwise, permutations

import pytest
from docket import Docket

import taskctx
from taskctx.operations import Outcome
from taskctx.settings.keyring import generate_key
from tests.conftest import make_worker
from tests.docs.pages import read
from tests.helpers import ADA, NOBODY, Sight, look


def first_cells(page: str, head: str) -> list[list[str]]:
    """What stands as code in the rows of the table that begins so, without its head."""
    table = read(page).partition(f"| {head} |")[2].partition("\n\n")[0]
    return [re.findall(r"`([^`]+)`", row) for row in table.splitlines()[2:]]


def steps() -> list[str]:
    """The values of TASKCTX_ENCRYPTION_KEYS while keys are rotated, each key a real one."""
    old, new = generate_key(), generate_key()
    values = [cells[-1] for cells in first_cells("how-to/seal.md", "step")]
    return [value.replace("2026-11:…", f"2026-11:{old}").replace("2027-02:…", f"2027-02:{new}") for value in values]


ROTATION = steps()
NEIGHBOURS = [*chain.from_iterable(permutations(pair) for pair in pairwise(range(len(ROTATION))))]


@pytest.mark.parametrize(("submitter", "worker"), NEIGHBOURS)
async def test_each_step_of_a_rotation_gets_on_with_the_next(docket: Docket, submitter: int, worker: int) -> None:
    """A process reads what a process one step ahead or behind has sealed."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    taskctx.configure(encryption_keys=ROTATION[submitter])
    with taskctx.bind_caller(access_token=ADA.token):
        await taskctx.add(docket, task)()
    taskctx.configure(encryption_keys=ROTATION[worker])
    async with make_worker(docket) as running:
        await running.run_until_finished()
    assert [(sight.token, sight.scope) for sight in seen] == [(ADA.token, ADA.scope)]


def test_a_rotation_has_its_four_values() -> None:
    """From the old key alone to the new one alone."""
    ids = [re.findall(r"(\d{4}-\d{2}):", value) for value in ROTATION]
    assert ids == [["2026-11"], ["2026-11", "2027-02"], ["2027-02", "2026-11"], ["2027-02"]]


def test_the_outcomes_are_these() -> None:
    """The page has all outcomes of a restore, and none that only a capture has."""
    found = {cells[0] for cells in first_cells("concepts.md", "outcome")}
    assert found == set(Outcome) - {Outcome.PARTIAL, Outcome.EMPTY}


def test_lives_are_as_long_as_is_said() -> None:
    """A day, and 15 minutes."""
    settings = taskctx.Settings()
    assert (settings.pending_ttl, settings.completed_ttl) == (24 * 60 * 60, 15 * 60)
    assert "`pending_ttl` beyond (a day)" in read("concepts.md")
    assert "`completed_ttl` (15 minutes)" in read("concepts.md")


async def test_an_anonymous_task_is_as_described(docket: Docket) -> None:
    """A task that was added with ``docket.add`` by a caller sees None, no headers and no baggage."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with ADA.bound():
        await docket.add(task)()
    async with make_worker(docket) as running:
        await running.run_until_finished()
    assert seen == [NOBODY]
    assert taskctx.get_http_headers() == {}
