"""What every target asserts: errors that are fixed texts, and no caller left behind."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from opentelemetry import baggage, trace

from taskctx._caller.caller import ANONYMOUS, current_caller
from taskctx._runtime import runtime
from taskctx.errors import Reason, RestoreError, SnapshotError

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


def text_of(data: bytes) -> str:
    """Any text, lone surrogates included, and any bytes as some text."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


def is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def attempt(call: Callable[[], T], refusal: type[E]) -> T | E:
    """What a call returns, or the one kind of error that it may raise."""
    try:
        return call()
    except refusal as error:
        return error


def assert_fixed_text(error: Exception, pattern: re.Pattern[str]) -> None:
    """The message quotes nothing, and neither does what a traceback would show above it."""
    assert pattern.fullmatch(str(error)), "the message is not a fixed text"
    assert error.args == (str(error),)
    _assert_stands_alone(error)


def assert_is_its_reason(error: SnapshotError | RestoreError, *expected: Reason) -> None:
    """Such an error is its reason and nothing else, so that it can quote nothing."""
    assert error.reason in expected, error.reason
    assert error.args == (error.reason,)
    _assert_stands_alone(error)


def _assert_stands_alone(error: Exception) -> None:
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


@contextmanager
def leaving_no_caller() -> Generator[None]:
    """Afterwards the caller is anonymous, no span and no baggage is current, and telemetry has not failed."""
    yield
    assert current_caller.get() is ANONYMOUS
    assert not baggage.get_all()
    assert not trace.get_current_span().get_span_context().is_valid
    assert not runtime().observers._reported, "telemetry failed"
