"""Runs the tests with other versions: ``python -m tests.versions [SET...] [options of pytest]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from tests.versions.environment import Counts, Environment
from tests.versions.record import record
from tests.versions.sets import BY_NAME, SETS

BACKENDS = ("memory", "valkey")


def main() -> int:
    """Make an environment for each set, run its tests on both backends, and print a table.

    Returns:
        0 when all passed, 1 when some failed.
    """
    arguments, options = _arguments()
    names: list[str] = arguments.sets or [each.name for each in SETS]
    results: dict[str, dict[str, Counts]] = {}
    for environment in (Environment(BY_NAME[name]) for name in names):
        if environment.can_be_had:
            environment.make()
            results[environment.of.name] = {backend: environment.test(backend, options) for backend in BACKENDS}
            if arguments.write:
                record(environment, results[environment.of.name])
    sys.stdout.write("".join(f"{line}\n" for line in _table(names, results)))
    return int(any(counts.failed or not counts.passed for of_set in results.values() for counts in of_set.values()))


def _table(names: list[str], results: dict[str, dict[str, Counts]]) -> Iterator[str]:
    yield f"\n{'set':20}" + "".join(f"{backend:>36}" for backend in BACKENDS)
    for name in names:
        counts = results.get(name, {}).values()
        said = [f"{each.passed} passed, {each.failed} failed, {each.skipped} skipped" for each in counts]
        yield f"{name:20}" + "".join(f"{each:>36}" for each in said or ["its Python is not here"])


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "sets", nargs="*", metavar="SET", choices=[*BY_NAME, []], help=f"of {', '.join(BY_NAME)}; all by default"
    )
    parser.add_argument("--write", action="store_true", help="keep the results for the documentation and the doctor")
    return parser.parse_known_args()


if __name__ == "__main__":
    sys.exit(main())
