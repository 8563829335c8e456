"""Errors: one tree, fixed messages, and what Docket does with exceptions."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import inspect
import pickle
import re

import cloudpickle
import pytest

import taskctx
from taskctx import errors
from taskctx._transport.deadline import BackendError
from taskctx.errors import Reason

PUBLIC = [value for value in vars(taskctx).values() if inspect.isclass(value) and issubclass(value, Exception)]
Reasoned = (
    taskctx.SnapshotError | taskctx.SaveError | taskctx.ScheduleError | taskctx.RestoreError | taskctx.ExecutionError
)
REASONED: list[type[Reasoned]] = [
    taskctx.SnapshotError,
    taskctx.SaveError,
    taskctx.ScheduleError,
    taskctx.RestoreError,
    taskctx.ExecutionError,
]


def test_every_public_error_is_in_the_module() -> None:
    """And every error in the module is public."""
    in_module = {
        value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception) and not name.startswith("_")
    }
    assert set(PUBLIC) == in_module


@pytest.mark.parametrize("error", PUBLIC)
def test_every_error_is_a_task_context_error(error: type[Exception]) -> None:
    """One ``except`` catches them all."""
    assert issubclass(error, taskctx.TaskContextError)
    assert error.__doc__


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Names, and the built-in error that some of them are too."""
    drawn = re.findall(r"[├└]── (\w+)\s+(?:\((\w+)\))?", errors.__doc__ or "")
    real = [
        (
            error.__name__,
            next((base.__name__ for base in (ValueError, TypeError, ImportError) if issubclass(error, base)), ""),
        )
        for error in PUBLIC
        if error is not taskctx.TaskContextError
    ]
    assert sorted(drawn) == sorted(real)


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("error", REASONED)
def test_an_error_with_a_reason_pickles(error: type[Reasoned], reason: Reason) -> None:
    """Docket pickles a task's exception into its result store; other serializers go by ``args``, which is the reason."""
    raised = error(reason)
    assert raised.args == (reason,)
    for copy in (pickle.loads(pickle.dumps(raised)), cloudpickle.loads(cloudpickle.dumps(raised))):
        assert type(copy) is error
        assert copy.reason is reason
        assert str(copy) == str(raised)


@pytest.mark.parametrize("error", [error for error in PUBLIC if error not in REASONED])
def test_an_error_with_a_message_pickles(error: type[Exception]) -> None:
    """Just the same."""
    raised = error("a fixed text")
    for copy in (pickle.loads(pickle.dumps(raised)), cloudpickle.loads(cloudpickle.dumps(raised))):
        assert type(copy) is error
        assert str(copy) == "a fixed text"


def test_a_backend_error_pickles() -> None:
    """It never leaves the package, but it may be in a traceback that does."""
    copy = pickle.loads(pickle.dumps(BackendError(Reason.BACKEND_TIMEOUT)))
    assert copy.reason is Reason.BACKEND_TIMEOUT


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_an_explanation(reason: Reason) -> None:
    """In words, fit to follow "(reason): " and to be followed by a full stop."""
    assert len(reason.explanation) > 40
    assert not reason.explanation.endswith(".")
    assert re.fullmatch(r"[a-z_]+", reason.value)


def test_the_reasons_are_those_of_the_contract() -> None:
    """Dashboards and alerts name them."""
    assert {reason.value for reason in Reason} == {
        "missing",
        "backend_timeout",
        "backend_error",
        "decrypt_unknown_key",
        "decrypt_failed",
        "plaintext_refused",
        "malformed",
        "schema_unsupported",
        "scope_mismatch",
        "too_large",
        "credential_expired",
        "credential_refresh_failed",
        "carried_invalid",
        "carried_required",
        "not_restored",
        "anonymous",
        "internal",
    }


@pytest.mark.parametrize(
    ("error", "start"),
    [
        (taskctx.SnapshotError, "the snapshot cannot be used (missing): "),
        (taskctx.SaveError, "the task's context was not saved and the task was not scheduled (missing): "),
        (taskctx.ScheduleError, "Docket could not schedule the task (missing): "),
        (taskctx.RestoreError, "the task's context was not restored, and the task fails (missing): "),
    ],
)
def test_a_message_says_what_happened_and_why(error: type[Reasoned], start: str) -> None:
    """It is a fixed text: what, the reason's word, the likely cause, or the very cause where that is known."""
    assert str(error(Reason.MISSING)) == f"{start}{Reason.MISSING.explanation}."
    known = error(Reason.MISSING, "somebody took it")
    assert str(known) == str(pickle.loads(pickle.dumps(known))) == f"{start}somebody took it."
