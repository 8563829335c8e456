"""One coverage-guided run over one target, in a process of its own: libFuzzer ends the process that it runs in.

``python -m tests.fuzz`` starts it.  Its arguments are the target, a file for an input that makes it fail, and libFuzzer's.
"""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

PARSERS = ("opentelemetry.baggage.propagation", "opentelemetry.trace.propagation.tracecontext")
"""What reads W3C headers for taskctx."""


def main() -> None:
    """Import what is fuzzed with its branches counted, and all else without; then fuzz."""
    atheris: Any = importlib.import_module("atheris")
    name, culprit, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["opentelemetry"]):
        for parser in PARSERS:
            importlib.import_module(parser)
    importlib.import_module("docket")
    with atheris.instrument_imports(include=["taskctx"]):
        targets = importlib.import_module("tests.fuzz.targets")

    def target(data: bytes) -> None:
        try:
            targets.TARGETS[name](data)
        except BaseException:
            Path(culprit).write_bytes(data)
            raise

    # a line for each refused input would be all that this process does
    logging.disable()
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
