"""``make mutate``: would the tests notice a fault in the codec, the key builder, the failure contract?

Every module of ``targets.py`` is changed in one small place at a time (``operators.py``), and its tests are run against
each change (``trial.py``).  A change that no test notices has survived: write the test that was missing.  Where none
could notice it, add the line that is printed, without the number, to ``accepted.txt`` under its reason.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.targets import TARGETS, Target
from tests.mutation.trial import Trial, prepared, start, verdict

ACCEPTED = Path(__file__).with_name("accepted.txt")
RESULTS = ("killed", "timed out", "accepted", "survived")


@dataclass(frozen=True)
class Score:
    """What became of a module's mutants."""

    module: str
    mutants: list[Mutant]
    results: dict[Mutant, str]
    seconds: float

    @property
    def survivors(self) -> list[Mutant]:
        return sorted((mutant for mutant, result in self.results.items() if result == "survived"), key=lambda m: m.line)

    def __str__(self) -> str:
        counts = Counter(self.results.values())
        figures = "".join(f"{counts[result]:>11}" for result in RESULTS)
        return f"{self.module:<14}{len(self.mutants):>9}{figures}{self.seconds:>7.0f} s"


def main() -> int:
    """Try every mutant.

    Returns:
        0 when none survived but those that are accepted, else 1.
    """
    arguments = _arguments()
    targets = [target for target in TARGETS if not arguments.modules or target.module in arguments.modules]
    accepted = set[str]() if arguments.all else accepted_survivors()
    scores: list[Score] = []
    with prepared():
        for target in targets:
            mutants = [mutant for mutant in mutants_of(target.module) if arguments.only in mutant.name]
            scores.append(_score(target, mutants, accepted, arguments.workers))
            _say(*(f"{mutant.line:4} {mutant.name}" for mutant in scores[-1].survivors))
    _say(
        "", "module          mutants" + "".join(f"{result:>11}" for result in RESULTS) + "     time", *map(str, scores)
    )
    stale = [] if arguments.only else _stale(accepted, scores)
    _say(*(f"accepted.txt: no such mutant: {name}" for name in stale))
    return bool(stale or any(score.survivors for score in scores))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.mutation", description="Try whether the tests notice faults.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="of targets.py; all of them by default")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="trials at a time")
    parser.add_argument("--all", action="store_true", help="try the accepted survivors too")
    parser.add_argument("--only", default="", metavar="TEXT", help="mutants whose printed line has this in it")
    return parser.parse_args()


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _say_at_once(text: str) -> None:
    """Progress, for who waits: a dot for a mutant that was killed, t for one that timed out, s for a survivor."""
    sys.stderr.write(text)
    sys.stderr.flush()


def accepted_survivors() -> set[str]:
    """The mutants in accepted.txt: every line that is no reason."""
    lines = ACCEPTED.read_text("utf-8").splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def _stale(accepted: set[str], scores: list[Score]) -> list[str]:
    """Accepted survivors of these modules that are no mutants any more."""
    names = {mutant.name for score in scores for mutant in score.mutants}
    modules = {score.module for score in scores}
    return sorted(name for name in accepted - names if name.partition(":")[0].partition(".")[0] in modules)


def _score(target: Target, mutants: list[Mutant], accepted: set[str], workers: int) -> Score:
    """The verdict on each mutant; what survives one backend is tried on the next."""
    began = time.monotonic()
    results = {mutant: "accepted" if mutant.name in accepted else "survived" for mutant in mutants}
    for backend in ("memory", "valkey") if target.on_a_server else ("memory",):
        left = [mutant for mutant in mutants if results[mutant] == "survived"]
        if left:
            _must_pass_unchanged(target, backend)
            for mutant, result in _verdicts([Trial(target, mutant, backend) for mutant in left], workers):
                results[mutant] = result
                _say_at_once("." if result == "killed" else result[0])
            _say_at_once("\n")
    return Score(target.module, mutants, results, time.monotonic() - began)


def _must_pass_unchanged(target: Target, backend: str) -> None:
    process = start(Trial(target, None, backend))
    if verdict(os.waitpid(process, 0)[1]) != "survived":
        raise SystemExit(f"{target.module}: its tests fail as it stands, on {backend}")


def _verdicts(trials: list[Trial], workers: int) -> Iterator[tuple[Mutant, str]]:
    waiting, running = list(reversed(trials)), dict[int, Trial]()
    while waiting or running:
        while waiting and len(running) < workers:
            trial = waiting.pop()
            running[start(trial)] = trial
        process, status = os.wait()
        # what a test has started and not ended
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
        mutant = running.pop(process).mutant
        assert mutant is not None
        yield mutant, verdict(status)


if __name__ == "__main__":
    sys.exit(main())
