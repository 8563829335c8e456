"""``make pictures``: draw every dashboard in every state, and say what is wrong with what was drawn.

The pictures are in build/pictures; look at them.  ``ARGS=--docs`` puts those of the documentation into docs/pictures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dashboards import overview, registries, slo, workers
from dashboards.model import Dashboard
from tests.pictures import DOCS
from tests.pictures.play import Moment, Play, played
from tests.pictures.week import lived_through
from tests.processes.support import ROOT
from tests.stack.programs import program
from tests.stack.prometheus import COMMITTED

BUILD = ROOT / "build" / "pictures"
BOARDS = (overview.DASHBOARD, workers.DASHBOARD, registries.DASHBOARD, slo.DASHBOARD)
PANELS: dict[str, tuple[Dashboard, str]] = {
    "burn-rate": (slo.DASHBOARD, "Burn rate 1h / 5m"),
    "failing-tasks": (overview.DASHBOARD, "Failing tasks"),
    "failures-by-instance": (workers.DASHBOARD, "Failures by instance and reason"),
    "failures-by-reason": (overview.DASHBOARD, "Failures by reason"),
    "keys": (workers.DASHBOARD, "Processes lacking a key"),
    "lookups": (registries.DASHBOARD, "Lookups by result"),
    "processes": (workers.DASHBOARD, "Processes, last 5 min"),
    "save-failures": (overview.DASHBOARD, "Save failures by reason"),
    "token-life": (overview.DASHBOARD, "Token life left when restored"),
}
"""The pictures of single panels in docs/pictures, called panel-NAME.png."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One to be taken.

    Attributes:
        query: what :file:`app/view.ts` reads.
        rows: up to the beginning of this row of panels, and all of it if 0.
        panel: the title of the only one to be shown; all if there is none.
        sight: a deficiency of colour vision that Chromium simulates.
    """

    path: str
    query: dict[str, Any]
    width: int = 1600
    rows: int = 0
    panel: str = ""
    sight: str = ""


@dataclass
class Faults:
    """What is wrong with the pictures that were taken."""

    found: list[str] = field(default_factory=list[str])

    def draw(self, play: Play, pictures: Iterable[Picture]) -> None:
        """A panel has data where there are processes, and none where there are none."""
        for drawn in _shoot(play, pictures):
            self._look(drawn, is_empty="/empty-" in drawn["path"])

    def _look(self, drawn: dict[str, Any], *, is_empty: bool) -> None:
        name = Path(drawn["path"]).name
        self.found += [f"{name}: {error}" for error in drawn["errors"]]
        for panel in drawn["panels"]:
            if "error" in panel:
                self.found.append(f"{name}: {panel['title']}: {panel['error']}")
            elif panel["hasData"] == is_empty and not name.startswith("docket-"):
                said = "shows something where no process is" if is_empty else "has no data"
                self.found.append(f"{name}: {panel['title']} {said}")


def main() -> int:
    """Draw.

    Returns:
        0 if there is nothing to complain about.
    """
    arguments = _arguments()
    faults = Faults()
    for number in arguments.workers:
        folder = BUILD / f"{number}-workers"
        shutil.rmtree(folder, ignore_errors=True)
        with played(BUILD / f"{number}-workers" / "run", number) as play:
            first = number == arguments.workers[0]
            pictures = [*_of_the_docs(play)] if arguments.docs and first else []
            faults.draw(play, [*pictures, *_pictures(play, folder, everything=first)])
            if first:
                with lived_through(folder / "week", play) as week:
                    faults.draw(week, _pictures(week, folder))
    print(*faults.found, f"pictures: {BUILD}; {len(faults.found)} faults", sep="\n")  # noqa: T201
    return 1 if faults.found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make pictures", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[3, 30], help="play it with so many workers")
    parser.add_argument("--docs", action="store_true", help="write the pictures of the documentation, too")
    return parser.parse_args()


def _pictures(play: Play, folder: Path, *, everything: bool = False) -> Iterator[Picture]:
    for board in BOARDS:
        for moment in play.moments:
            for theme in ("dark", "light"):
                for width in (1600, 1366):
                    name = f"{moment.state}-{board.uid.removeprefix('taskctx-')}-{theme}-{width}.png"
                    yield Picture(f"{folder}/{name}", _query(play, board.uid, moment, theme=theme), width)
    if everything:
        yield from _of_other_eyes(play, folder)


def _of_other_eyes(play: Play, folder: Path) -> Iterator[Picture]:
    """On a phone, colour-blind, with one docket chosen, over hours, and where nothing was ever scraped."""
    _, faults, killed, over = play.moments
    before = Moment("empty", faults.began - 7200, faults.began - 3600)
    hours = Moment("hours", over.ended - 21_600, over.ended)
    for board in BOARDS:
        name = board.uid.removeprefix("taskctx-")
        yield Picture(f"{folder}/phone-{name}.png", _query(play, board.uid, killed), 390)
        for sight in ("deuteranopia", "protanopia", "tritanopia"):
            yield Picture(f"{folder}/{sight}-{name}.png", _query(play, board.uid, killed), sight=sight)
        yield Picture(f"{folder}/hours-{name}.png", _query(play, board.uid, hours))
        yield Picture(f"{folder}/empty-{name}.png", _query(play, board.uid, before))
        yield Picture(f"{folder}/docket-{name}.png", _query(play, board.uid, killed, docket="live"))


def _of_the_docs(play: Play) -> Iterator[Picture]:
    """What README.md and docs/ show: each board as the worker was killed, and panels that runbooks speak of."""
    killed = next(moment for moment in play.moments if moment.state == "killed")
    for board in BOARDS:
        rows = 2 if board is overview.DASHBOARD else 0
        name = board.uid.removeprefix("taskctx-")
        yield Picture(f"{DOCS}/{name}.png", _query(play, board.uid, killed), 1366, rows)
    for name, (board, title) in PANELS.items():
        yield Picture(f"{DOCS}/panel-{name}.png", _query(play, board.uid, killed), 1366, panel=title)


def _query(play: Play, uid: str, moment: Moment, **more: str) -> dict[str, Any]:
    times = {"from": moment.began - 10, "to": moment.ended}
    shorter = {} if play.five_minutes is None else {"five": play.five_minutes}
    return {"uid": uid, **times, "scrape": play.scrape, "note": play.note, **shorter, **more}


def _shoot(play: Play, pictures: Iterable[Picture]) -> Iterator[dict[str, Any]]:
    """Take the pictures, and give what was seen in each."""
    order = {
        "prometheus": play.prometheus,
        "dashboards": str(COMMITTED / "grafana"),
        "chromium": program("chromium", "chromium-browser", "google-chrome", install="apt-get install chromium"),
        "pictures": [asdict(picture) for picture in pictures],
    }
    command = [program("node", install="apt-get install nodejs npm"), "shoot.mjs"]
    done = subprocess.run(
        command, cwd=BUILD / "app", input=json.dumps(order), stdout=subprocess.PIPE, text=True, check=True
    )
    yield from map(json.loads, done.stdout.splitlines())


if __name__ == "__main__":
    sys.exit(main())
