"""``python -m tests.fuzz`` itself, without a minute of fuzzing."""

from __future__ import annotations

import sys

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz.seeds import SEEDS, WORDS, dictionary
from tests.fuzz.targets import TARGETS


def test_where_there_is_no_fuzzer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it needs, in a sentence, and does not pass."""
    monkeypatch.setitem(sys.modules, "atheris", None)
    monkeypatch.setattr(sys, "argv", ["fuzz"])
    assert command.main() == 2
    assert "needs atheris" in capsys.readouterr().out


def test_one_input_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that was printed can be run by itself."""
    monkeypatch.setattr(sys, "argv", ["fuzz", "--input", b"{}".hex(), "snapshot_json"])
    assert command.main() == 0


def test_an_unknown_target(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named."""
    monkeypatch.setattr(sys, "argv", ["fuzz", "tasks"])
    with pytest.raises(SystemExit):
        command.main()
    assert "no such target: tasks" in capsys.readouterr().err


def test_every_target_has_seeds() -> None:
    """And the dictionary has a line for each word, in libFuzzer's form."""
    assert SEEDS.keys() == TARGETS.keys()
    assert all(SEEDS.values())
    lines = dictionary().splitlines()
    assert len(lines) == len(WORDS)
    assert all(line.startswith('"\\x') and line.endswith('"') for line in lines)
