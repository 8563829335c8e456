"""``make compose-check``: an engine, the images, and then the tests, where published ports are found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest

from tests.compose import images
from tests.compose.engine import SEEN, Engine, NoEngineError
from tests.processes.support import ROOT
from tests.stack.built import kept


def main(arguments: list[str]) -> int:
    clones = kept("clones")
    clones.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=clones) as directory:
        folder = Path(directory)
        folder.chmod(0o755)
        try:
            engine = Engine.found()
            engine.start(clones)
        except NoEngineError as error:
            return _failed(error)
        try:
            stand_ins = images.ready(engine)
            chosen = (
                arguments if any(each.startswith("tests/") for each in arguments) else ["tests/compose", *arguments]
            )
            tests = [sys.executable, "-m", "pytest", "-m", "compose", *chosen]
            code = subprocess.run(
                engine.on_its_network(*tests), cwd=ROOT, env=os.environ | {SEEN: str(folder)}, check=False
            ).returncode
        except pytest.fail.Exception as error:
            return _failed(error)
        finally:
            engine.stop()
        _report(engine, stand_ins)
        return code


def _report(engine: Engine, stand_ins: dict[str, str]) -> None:
    lines = [f"engine: {'its own' if engine.own else 'that of this machine'}"]
    lines += [
        f"{image}: {f'STAND-IN, {stand_ins[image]}' if image in stand_ins else 'as pulled'}"
        for image in images.wanted()
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _failed(error: BaseException) -> int:
    sys.stderr.write(f"compose-check: {error}\n")
    return 1


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


if __name__ == "__main__":
    # so that the engine is stopped
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main(sys.argv[1:]))
