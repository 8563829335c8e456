"""``taskctx keygen``."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from taskctx.cli import app
from taskctx.settings.keyring import parse_keyring

runner = CliRunner()


def test_a_key_with_an_id_of_ones_own() -> None:
    """On stdout, alone, as ``TASKCTX_ENCRYPTION_KEYS`` takes it."""
    made = runner.invoke(app, ["keygen", "--id", "2026-11"])
    assert made.exit_code == 0
    assert parse_keyring(made.stdout.strip()).key_ids == ("2026-11",)


def test_by_default_the_id_is_the_month() -> None:
    """The default id is year and month, so that ids sort by age."""
    (key_id,) = parse_keyring(runner.invoke(app, ["keygen"]).stdout.strip()).key_ids
    assert re.fullmatch(r"\d{4}-\d{2}", key_id)


def test_no_two_are_alike() -> None:
    assert runner.invoke(app, ["keygen"]).stdout != runner.invoke(app, ["keygen"]).stdout


@pytest.mark.parametrize("key_id", ["a b", "a:b", "a,b", "ä", "", "a" * 65])
def test_an_id_that_cannot_be_used_is_one_sentence(key_id: str) -> None:
    """That says what an id may be; and exit code 2."""
    made = runner.invoke(app, ["keygen", "--id", key_id])
    assert made.exit_code == 2
    assert made.stdout == ""
    assert made.output == ("the id must be 1 to 64 letters, digits, '.', '_' or '-'.\nChoose another with --id.\n")
