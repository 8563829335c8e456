"""A coverage-guided run over all targets: ``python -m tests.fuzz``.

The time is split between the targets.  Each starts from its seeds in a process of its own, whose files are in a
temporary directory.  Prints a table; an input that makes a target fail is printed in hexadecimal, to be run again
with ``python -m tests.fuzz --input HEX TARGET`` and kept in ``test_regressions.py``.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from taskctx.settings import ENVIRONMENT_PREFIX
from tests.fuzz.seeds import SEEDS, dictionary
from tests.fuzz.targets import TARGETS

HANG = 10
"""Seconds that one input may take."""

MEMORY = 2048
"""Megabytes that a process may take."""

LONGEST = 16_384
"""Bytes of an input: more than W3C's limit of 8192 for a header."""


@dataclass(frozen=True)
class Run:
    """What came of one target: inputs tried, branches seen, inputs that found some, and what made it fail."""

    target: str
    executions: int
    edges: int
    corpus: int
    output: str
    failed: bool
    culprit: bytes


def main() -> int:
    """Fuzz, and say what came of it.

    Returns:
        0 when every target held, 1 when one failed, 2 when there is nothing to fuzz with.
    """
    arguments = _arguments()
    names: list[str] = arguments.targets or list(TARGETS)
    if arguments.input is not None:
        for name in names:
            TARGETS[name](bytes.fromhex(arguments.input))
        return 0
    if not _can_fuzz():
        return 2
    _say(f"{'target':<14} {'executions':>10} {'edges':>6} {'corpus':>6}  result")
    runs = [_report(_fuzz(name, arguments.seconds / len(names))) for name in names]
    return int(any(run.failed for run in runs))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Coverage-guided fuzzing of taskctx.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="in all (60)")
    parser.add_argument("--input", metavar="HEX", help="run this one input instead")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    return arguments


def _can_fuzz() -> bool:
    """Whether atheris is here; says what it needs where it is not."""
    try:
        importlib.import_module("atheris")
    except ImportError:
        _say(
            "Coverage-guided fuzzing needs atheris (pip install atheris), which is made for Python 3.11 to 3.13 on Linux "
            "x86-64. The same targets run under Hypothesis everywhere: pytest tests/fuzz."
        )
        return False
    return True


def _fuzz(target: str, seconds: float) -> Run:
    """Run one target for so long, from its seeds."""
    with TemporaryDirectory(prefix="taskctx-fuzz-") as scratch:
        corpus, found, words = Path(scratch, "corpus"), Path(scratch, "found"), Path(scratch, "words")
        corpus.mkdir()
        found.mkdir()
        words.write_text(dictionary())
        for number, seed in enumerate(SEEDS[target]):
            (corpus / f"seed-{number}").write_bytes(seed)
        options = {
            "max_total_time": max(1, round(seconds)),
            "timeout": HANG,
            "rss_limit_mb": MEMORY,
            "max_len": LONGEST,
            "dict": words,
            "artifact_prefix": f"{found}{os.sep}",
            "print_final_stats": 1,
        }
        command = [sys.executable, "-B", "-m", "tests.fuzz.guided", target, str(found / "exception")]
        command += [*(f"-{name}={value}" for name, value in options.items()), str(corpus)]
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_environment(), check=False
        )
        inputs = [path.read_bytes() for path in sorted(found.iterdir()) if not path.name.startswith("slow-unit")]
    output = ended.stdout.decode("utf-8", "backslashreplace")
    return Run(
        target,
        executions=_last(r"stat::number_of_executed_units: +(\d+)", output),
        edges=_last(r"cov: (\d+)", output),
        corpus=_last(r"corp: (\d+)", output),
        output=output,
        failed=ended.returncode != 0,
        culprit=b"".join(inputs[-1:]),
    )


def _environment() -> dict[str, str]:
    """This process's, without settings of taskctx's: the targets bring their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}


def _last(pattern: str, output: str) -> int:
    found = re.findall(pattern, output)
    return int(found[-1]) if found else 0


def _report(run: Run) -> Run:
    """Say what came of a target; of one that failed also its traceback and the input."""
    result = "FAILED" if run.failed else "ok"
    _say(f"{run.target:<14} {run.executions:>10} {run.edges:>6} {run.corpus:>6}  {result}")
    if run.failed:
        lines = [line for line in run.output.splitlines() if not line.startswith(("#", "INFO:", "WARNING:"))]
        _say("\n".join(lines)[-4_000:])
        _say(f"\n{run.target} fails with (in hexadecimal): {run.culprit.hex() or 'no input'}\n")
    return run


if __name__ == "__main__":
    sys.exit(main())
