"""The names and behaviours of other packages that taskctx needs beyond their public API, checked at import.

taskctx sets no upper limits on versions.  This module checks the names that a newer version may have moved or changed,
and raises one error that lists all missing names, in place of an AttributeError at the first submission.  Behaviour
that only a server shows is tested in ``tests/upstream``.  The needs of ``taskctx.fastmcp`` are in ``fastmcp.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any, Final

from ..errors import UnsupportedVersion


@dataclass(frozen=True)
class Need:
    """A name that taskctx needs, and its expected behaviour.

    Attributes:
        package: the package's name on PyPI.
        name: a module, or ``module:name``.
        purpose: what taskctx does with it; completes "taskctx needs it to ...".
        holds: returns whether the found object behaves as expected.
    """

    package: str
    name: str
    purpose: str
    holds: Callable[[Any], object] = lambda _: True


def _takes(*parameters: str) -> Callable[[Any], bool]:
    """Checks that a class has constructor parameters with these names."""
    return lambda made: {*parameters} <= {*made.__init__.__code__.co_varnames}


NEEDS: Final[tuple[Need, ...]] = (
    Need("pydocket", "docket:Docket.add_many", "submit tasks together"),
    Need("pydocket", "docket:Docket.runs_key", "read whether a task still has a run to come"),
    Need(
        "pydocket",
        "docket:Docket",
        "tell whether a docket is open",
        lambda made: attrgetter("_redis.is_connected")(made()) is False,
    ),
    Need("pydocket", "docket.execution:Disposition.FAILED", "tell a task that was not scheduled"),
    Need("pydocket", "docket.execution:Execution", "tell a task's runs apart", _takes("generation", "redelivered")),
    Need("pydocket", "docket.execution:TaskCall", "submit tasks together", _takes("function_name")),
    Need(
        "pydocket",
        "docket.dependencies:AdmissionBlocked",
        "keep the context of a task that is held back",
        lambda made: attrgetter("handled", "reschedule", "retry_delay")(made(SimpleNamespace(key=""), handled=True))[0],
    ),
    Need(
        "pydocket",
        "docket.dependencies:Perpetual",
        "keep a perpetual task's context until its next run",
        lambda made: attrgetter("_next_when", "cancelled")(made()) == (None, False),
    ),
    Need("pydocket", "docket.dependencies:Cron.initial_when", "keep a task's context until its next run"),
    Need("pydocket", "docket.dependencies:Retry", "keep the context of a task that is retried", _takes("attempts")),
    Need("pydocket", "docket.dependencies:SharedContext.lock", "build Shared dependencies without a caller"),
    Need("pydocket", "docket.dependencies:SharedContext.stack", "build Shared dependencies without a caller"),
    Need("pydocket", "docket.dependencies:get_annotation_dependencies", "tell whether a task runs again"),
    Need(
        "pydocket",
        "docket.instrumentation:message_setter",
        "keep baggage out of Docket's messages",
        lambda found: found.set and found.__class__ is resolve_name("docket.instrumentation:MessageSetter"),
    ),
    Need("uncalled-for", "uncalled_for:current_frame", "read what a task's body was given"),
    Need(
        "uncalled-for",
        "uncalled_for.frames:Frame",
        "read what a task's body was given",
        lambda made: not made(print, {}, {}).resolved,
    ),
    Need("opentelemetry-api", "opentelemetry.trace:_TRACER_PROVIDER", "see whether the process makes spans"),
    Need(
        "opentelemetry-api", "opentelemetry.context:_SUPPRESS_INSTRUMENTATION_KEY", "make no spans of its own commands"
    ),
    Need("prometheus-client", "prometheus_client.utils:floatToGoString", "expose histograms"),
    Need("redis", "redis.backoff:ExponentialWithJitterBackoff", "ask again when a connection broke"),
)
"""The needs of Docket, uncalled-for, OpenTelemetry, prometheus_client and redis-py."""

FAULTS: Final[tuple[Need, ...]] = (
    Need(
        "pydocket",
        "docket:__version__",
        "is too old: tasks that a stopping worker was running are not run again. "
        "Install pydocket 0.26 or later; all else works meanwhile",
        lambda found: [int(part) for part in found.split(".")[:2]] >= [0, 26],
    ),
    Need(
        "redis",
        "redis:__version__",
        "hands out connections that the server has closed: after a quiet time submissions fail, and tasks run twice. "
        "Install another version; meanwhile, add ?protocol=2 to the docket's URL",
        lambda found: found != "8.1.0",
    ),
)
"""Harmful versions, which pip does not choose by itself; ``purpose`` describes the harm."""


def require(needs: Iterable[Need], install: str = "", meanwhile: str = "") -> None:
    """Check that all needs are met.

    Args:
        needs: the needs to check.
        install: the packages that the error suggests to upgrade; by default taskctx and the packages at fault.
        meanwhile: what still works, for the error; empty where taskctx does not work at all.

    Raises:
        UnsupportedVersion: a need is not met; the error names all such needs.
    """
    missing = [need for need in needs if not is_met(need)]
    if missing:
        packages = list(dict.fromkeys(need.package for need in missing))
        said = "; ".join(f"{_installed(each)} does not have {_lacking(each, missing)}" for each in packages)
        raise UnsupportedVersion(
            f"{said}. Install versions that taskctx was tested with, or a newer taskctx: pip install --upgrade "
            f"{install or ' '.join(('taskctx', *packages))}{meanwhile and f'; {meanwhile}'}"
        )


def warn_of(faults: Iterable[Need]) -> None:
    """Warn about harmful versions."""
    for fault in faults:
        if not is_met(fault):
            warnings.warn(f"{_installed(fault.package)} {fault.purpose}", RuntimeWarning, stacklevel=2)


def is_met(need: Need) -> bool:
    """Whether the name exists and behaves as expected."""
    try:
        return bool(need.holds(resolve_name(need.name)))
    except Exception:  # noqa: BLE001 - an unknown version of another package may raise anything
        return False


def _lacking(package: str, missing: list[Need]) -> str:
    lacking = (f"{need.name}, as taskctx needs it to {need.purpose}" for need in missing if need.package == package)
    return ", and ".join(lacking)


def _installed(package: str) -> str:
    number = version_of(package)
    return f"{package} {number}" if number else f"{package}, which is not installed,"


def version_of(package: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


require(NEEDS)
warn_of(FAULTS)
