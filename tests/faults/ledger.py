"""What became of every task, in files that outlive the process that wrote them.

Each process appends lines to a file of its own, one ``write`` a line, so that a line is whole or not there, and is there
although the process was killed the moment after.  The test reads all of them.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

DIRECTORY = "TASKCTX_FAULTS_LEDGER"
"""Environment variable that tells a process where its ledger goes."""


class Entry(StrEnum):
    """What a line says.  Submitters write the first five, workers the others."""

    INTENDED = "intended"
    REFUSED = "refused"
    """The context was not saved, with the reason, and nothing was scheduled."""
    UNSURE = "unsure"
    """Docket failed: the task may be scheduled or not."""
    ACCEPTED = "accepted"
    COUNTED = "counted"
    """What the submitter's own metrics say of failed saves, when it is done."""
    RESTORED = "restored"
    """A restore ended, with outcome and reason."""
    BEGAN = "began"
    ENDED = "ended"
    """A task's body began and ended; each entry has whose context it saw."""
    GAUGED = "gauged"
    """What the process needs and holds on to (gauge.py)."""


class Whose(StrEnum):
    """Whose context a task's body saw."""

    OWN = "own"
    NOBODYS = "nobody's"
    ANOTHERS = "another's"


class Pen:
    """Writes one process's lines."""

    def __init__(self, directory: Path) -> None:
        # the id tells processes of one pid apart
        path = directory / f"{os.getpid()}-{uuid4().hex}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @classmethod
    def from_environment(cls) -> Pen:
        return cls(Path(os.environ[DIRECTORY]))

    def write(self, entry: Entry, **values: object) -> None:
        os.write(self._file, json.dumps({"entry": entry, **values}).encode() + b"\n")


@dataclass(slots=True)
class Fate:
    """What became of one task.

    Attributes:
        ended: how often its body ran to its end, by whose context it saw.
        refused: why it was not run, for each attempt.
    """

    accepted: bool = False
    times_accepted: int = 0
    began: int = 0
    seen: Counter[Whose] = field(default_factory=Counter[Whose])
    ended: int = 0
    refused: list[str] = field(default_factory=list[str])

    @property
    def settled(self) -> bool:
        return self.ended > 0 or bool(self.refused)


@dataclass
class Ledger:
    """All lines so far, by task."""

    directory: Path
    fates: defaultdict[int, Fate] = field(default_factory=lambda: defaultdict(Fate))
    saves_refused: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter[str]))
    """By process id, then by reason."""
    saves_counted: dict[int, Counter[str]] = field(default_factory=dict[int, Counter[str]])
    """The same as the submitters' metrics have it, for those that ended in peace."""
    slow_saves: dict[int, int] = field(default_factory=dict[int, int])
    """By process id, of the same: how many took more than a quarter of a second."""
    unsure: int = 0
    answers: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter[str]))
    """By process id: what Docket answered to those that were accepted."""
    restores_failed: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter[str]))
    """By process id, then by reason: failed and degraded ones."""
    under_way: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set[int]))
    """By process id: tasks whose body began there and has not ended."""
    ran_by: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set[int]))
    """By process id: tasks whose body ended there."""
    restores_took: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list[float]))
    """By process id: seconds."""
    ended_in: Counter[int] = field(default_factory=Counter[int])
    """How many tasks' bodies ended, by process id."""
    accepted_in: Counter[int] = field(default_factory=Counter[int])
    """How many tasks were accepted, by the submitter's process id."""
    gauges: defaultdict[int, list[dict[str, int]]] = field(default_factory=lambda: defaultdict(list[dict[str, int]]))
    """By process id: what it needed, and held on to, when it was asked."""
    began: int = 0
    """How many bodies began, redeliveries included."""
    ended: int = 0
    """How many tasks' bodies ended at least once."""
    _open: dict[int, None] = field(default_factory=dict[int, None])
    _read: dict[Path, int] = field(default_factory=dict[Path, int])
    _numbers: dict[str, int] = field(default_factory=dict[str, int])
    _unclaimed: list[tuple[int, dict[str, Any]]] = field(default_factory=list[tuple[int, dict[str, Any]]])

    def refresh(self) -> Ledger:
        """Read what was written since the last time."""
        for path in sorted(self.directory.glob("*.jsonl")):
            self._read_file(path)
        unclaimed, self._unclaimed = self._unclaimed, []
        for pid, line in unclaimed:
            self._restored(pid, line)
        return self

    def _read_file(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read[path] = self._read.get(path, 0) + len(whole)
        pid = int(path.name.partition("-")[0])
        for line in whole.splitlines():
            self._take(pid, json.loads(line))

    def _take(self, pid: int, line: dict[str, Any]) -> None:
        match Entry(line["entry"]):
            case Entry.INTENDED:
                self.fates[line["number"]]
            case Entry.REFUSED:
                self.saves_refused[pid][line["reason"]] += 1
            case Entry.UNSURE:
                self.unsure += 1
            case Entry.ACCEPTED:
                self.fates[line["number"]].accepted = True
                self.fates[line["number"]].times_accepted += 1
                self.accepted_in[pid] += 1
                self._numbers[line["task_id"]] = line["number"]
                self._judge(line["number"])
                self.answers[pid][line.get("answer", "")] += 1
            case Entry.COUNTED:
                self.saves_counted[pid] = Counter(line["saves_failed"])
                self.slow_saves[pid] = line["slow_saves"]
            case Entry.BEGAN:
                self.fates[line["number"]].began += 1
                self.began += 1
                self.under_way[pid].add(line["number"])
                self.fates[line["number"]].seen[Whose(line["whose"])] += 1
            case Entry.ENDED:
                self.ended += not self.fates[line["number"]].ended
                self.fates[line["number"]].ended += 1
                self._judge(line["number"])
                self.ended_in[pid] += 1
                self.under_way[pid].discard(line["number"])
                self.ran_by[pid].add(line["number"])
                self.fates[line["number"]].seen[Whose(line["whose"])] += 1
            case Entry.RESTORED:
                self._note_restore(pid, line)
            case Entry.GAUGED:
                self.gauges[pid].append({name: value for name, value in line.items() if name != "entry"})

    def _note_restore(self, pid: int, line: dict[str, Any]) -> None:
        self.restores_took[pid].append(line["duration"])
        if line["reason"]:
            self.restores_failed[pid][line["reason"]] += 1
        self._unclaimed.append((pid, line))

    def _restored(self, pid: int, line: dict[str, Any]) -> None:
        """Note a restore with its task, once the submitter has told which number has this id."""
        number = self._numbers.get(line["task_id"])
        if number is None:
            self._unclaimed.append((pid, line))
        elif line["fails_task"]:
            self.fates[number].refused.append(line["reason"])
            self._judge(number)

    def _judge(self, number: int) -> None:
        fate = self.fates[number]
        if fate.accepted and not fate.settled:
            self._open[number] = None
        else:
            self._open.pop(number, None)

    @property
    def accepted(self) -> int:
        return sum(fate.accepted for fate in self.fates.values())

    def unsettled(self) -> list[int]:
        """Accepted tasks that neither ran to their end nor were refused."""
        return list(self._open)

    def ids(self) -> dict[int, str]:
        """The task id under which each task was accepted."""
        return {number: task_id for task_id, number in self._numbers.items()}

    def seen(self, whose: Whose) -> int:
        return sum(fate.seen[whose] for fate in self.fates.values())

    def failed_restores(self, pid: int | None = None) -> Counter[str]:
        """Failed and degraded restores by reason, of one process or of all."""
        return self.restores_failed[pid] if pid else sum(self.restores_failed.values(), Counter[str]())

    def failed_saves(self) -> Counter[str]:
        """Saves refused, by reason."""
        return sum(self.saves_refused.values(), Counter[str]())
