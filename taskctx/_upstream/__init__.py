"""What taskctx needs of other packages beyond what they promise, asked once, before anything else is imported.

Packages are not shut out by their version: what a newer one may have moved or changed is looked for here, and what is
missing is one error that names it, in place of an AttributeError at the first submission.  What only a server can
answer is in ``tests/upstream``.  What is needed of FastMCP is in ``fastmcp.py``, which is asked where that is wanted.
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
    """A name, or how it behaves.

    Attributes:
        package: by its name in the index.
        name: a module's, or ``module:name``.
        purpose: what taskctx does with it: "taskctx needs it to ...".
        holds: asks whether what was found behaves as it must.
    """

    package: str
    name: str
    purpose: str
    holds: Callable[[Any], object] = lambda _: True


def _takes(*parameters: str) -> Callable[[Any], bool]:
    """A class whose instances are made with parameters of these names."""
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
    Need("pydocket", "docket.dependencies:SharedContext.lock", "make what tasks share for none of them"),
    Need("pydocket", "docket.dependencies:SharedContext.stack", "make what tasks share for none of them"),
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
    Need("opentelemetry-api", "opentelemetry.trace:_TRACER_PROVIDER", "see whether anyone makes spans"),
    Need(
        "opentelemetry-api", "opentelemetry.context:_SUPPRESS_INSTRUMENTATION_KEY", "make no spans of its own commands"
    ),
    Need("prometheus-client", "prometheus_client.utils:floatToGoString", "expose histograms"),
    Need("redis", "redis.backoff:ExponentialWithJitterBackoff", "ask again when a connection broke"),
)
"""Of Docket, uncalled-for, OpenTelemetry, prometheus_client and redis-py."""

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
"""Versions that pip would not have chosen, and that do harm: ``purpose`` says which."""


def require(needs: Iterable[Need], install: str = "", meanwhile: str = "") -> None:
    """See that everything is there, and behaves.

    Args:
        needs: what is looked for.
        install: what pip is told to upgrade, where that is not just taskctx and the packages at fault.
        meanwhile: what works all the same; nothing of taskctx does otherwise.

    Raises:
        UnsupportedVersion: something is not; all of it is named.
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
    """Warn of versions that do harm."""
    for fault in faults:
        if not is_met(fault):
            warnings.warn(f"{_installed(fault.package)} {fault.purpose}", RuntimeWarning, stacklevel=2)


def is_met(need: Need) -> bool:
    """Whether what is looked for is there, and behaves."""
    try:
        return bool(need.holds(resolve_name(need.name)))
    except Exception:  # noqa: BLE001 - it is another package's, in a version that nobody knows
        return False


def _lacking(package: str, missing: list[Need]) -> str:
    lacking = (f"{need.name}, as taskctx needs it to {need.purpose}" for need in missing if need.package == package)
    return ", and ".join(lacking)


def _installed(package: str) -> str:
    number = version_of(package)
    return f"{package} {number}" if number else f"{package}, which is not installed,"


def version_of(package: str) -> str | None:
    """The version that is installed; None where none is."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


require(NEEDS)
warn_of(FAULTS)
