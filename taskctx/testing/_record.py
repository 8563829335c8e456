"""Records the attempts and the result of a task while it runs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Generic, TypeVar, cast

from docket.dependencies import Dependency, current_execution
from docket.execution import Execution

from .. import Reason, RestoreError
from .._runtime import runtime, use_runtime
from .._snapshot.keys import parse_task_key
from ..operations import Event, Operation, Outcome, Restore
from ..telemetry.observers import Observer, Observers
from ._seen import SeenContext

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a task.

    Attributes:
        outcome: the outcome of the restore: ``ok``, ``degraded``, ``failed`` or ``skipped``, as in
            ``taskctx_restores_total``.
        reason: why the restore was degraded or failed.
        seen: the context that the body and the task's own dependencies saw; None when a failed restore fails the task.
        error: the body's exception, an exception group of the dependencies, or the :class:`taskctx.RestoreError` that
            kept the body from running; None when the body succeeded.
    """

    outcome: Outcome
    reason: Reason | None
    seen: SeenContext | None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class TaskRun(Generic[R]):
    """The attempts and the result of a task; ``repr`` shows no credential.

    Attributes:
        attempts: all runs, at least one; ``outcome``, ``reason``, ``seen`` and ``error`` are those of the last run.
        result: the task's return value; None when the task failed, or was postponed to another run.
    """

    attempts: tuple[Attempt, ...]
    result: R | None = field(repr=False)

    @property
    def outcome(self) -> Outcome:
        """The outcome of the last attempt's restore."""
        return self.attempts[-1].outcome

    @property
    def reason(self) -> Reason | None:
        """Why the last attempt's restore was degraded or failed."""
        return self.attempts[-1].reason

    @property
    def seen(self) -> SeenContext | None:
        """The context that the last attempt's body saw; None when the failed restore fails the task."""
        return self.attempts[-1].seen

    @property
    def error(self) -> BaseException | None:
        """The exception of the last attempt; None when the attempt succeeded."""
        return self.attempts[-1].error


class Recorder:
    """Records the attempts of one task: an observer of the restores, and a dependency around the bodies."""

    def __init__(self, execution: Execution) -> None:
        self._docket_name = execution.docket.name
        self._key = execution.key
        parts = parse_task_key(execution.key)
        self._task_id = None if parts is None else parts.task_id
        self._restored: Restore | None = None
        self.attempts: list[Attempt] = []
        self.dependency = _AroundBody(self)

    @contextmanager
    def watching(self) -> Generator[Recorder]:
        """Observe restores for the length of a ``with`` block; other observers may be added and removed meanwhile."""
        _use_observers([*runtime().observers.observers, self])
        try:
            yield self
        finally:
            _use_observers([observer for observer in runtime().observers.observers if observer is not self])

    def on_start(self, operation: Operation) -> None:
        """Do nothing: the result is not known yet."""

    def on_end(self, operation: Operation, state: None) -> None:
        if not isinstance(operation, Restore) or operation.docket_name != self._docket_name:
            return
        if operation.task_id == self._task_id:
            self._restored = operation

    def on_event(self, event: Event) -> None:
        """Do nothing: events do not belong to the task."""

    def begin(self) -> None:
        """Record an attempt after its restore, before the body."""
        restored = self._restored
        if restored is None or current_execution.get().key != self._key:
            return
        body_runs = not restored.fails_task
        seen = SeenContext.here() if body_runs else None
        self.attempts.append(Attempt(restored.outcome, restored.reason, seen))

    def end(self, error: BaseException | None) -> None:
        """Record the exception of an attempt after the body, or instead of the body."""
        if error is not None and self.attempts and current_execution.get().key == self._key:
            begun = self.attempts.pop()
            self.attempts.append(Attempt(begun.outcome, begun.reason, begun.seen, _without_group(error)))


class _AroundBody(Dependency[None]):
    """The worker-level dependency that reports bodies to a recorder; Docket enters it after ``task_context``."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def __aenter__(self) -> None:
        self._recorder.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._recorder.end(error)


def _without_group(error: BaseException) -> BaseException:
    """The RestoreError in an exception group (Docket groups the exceptions of dependencies), or the error itself."""
    inside = cast("tuple[BaseException, ...]", getattr(error, "exceptions", ()))
    return next((each for each in inside if isinstance(each, RestoreError)), error)


def _use_observers(observers: Sequence[Observer]) -> None:
    use_runtime(replace(runtime(), observers=Observers(observers)))
