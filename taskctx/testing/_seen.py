"""The context that code sees of its caller, and the comparison with the expected caller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any

from .. import (
    AccessToken,
    InvalidType,
    TaskContextInfo,
    TaskContextSnapshot,
    get_access_token,
    get_http_headers,
    get_request_id,
    get_task_context,
)
from .._caller.caller import current_caller, lowered
from .._caller.carried import capture_carried
from .._caller.headers import allowed_headers
from .._caller.token import token_from_json, token_scope
from .._caller.trace_context import BAGGAGE, current_baggage
from .._runtime import runtime
from ._caller import FakeCaller


@dataclass(frozen=True, slots=True)
class SeenContext:
    """Everything that code sees of its caller.  ``repr`` shows no credential and no payload.

    Attributes:
        task: the identity of the task; None outside of a task.
        access_token: the caller's token.
        headers: the headers that ``headers_allow`` and ``headers_deny`` let through, names in lower case.
        request_id: the id of the caller's request.
        session_id: the id of the caller's session.
        baggage: the W3C header under ``baggage``, with the keys in ``baggage_keys``; empty without baggage.
        carried: the required carried ContextVars and those that differ from their defaults, as JSON values by name.
    """

    task: TaskContextInfo | None
    access_token: AccessToken | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    request_id: str | None
    session_id: str | None = field(repr=False)
    baggage: Mapping[str, str] = field(repr=False)
    carried: Mapping[str, Any] = field(repr=False)

    @classmethod
    def here(cls) -> SeenContext:
        """The context that the current code sees, in a handler or in a task.

        Raises:
            CaptureError: a carried value has no JSON form.
        """
        within = runtime()
        return cls(
            task=get_task_context(),
            access_token=get_access_token(),
            headers=allowed_headers(get_http_headers(), within.may_travel),
            request_id=get_request_id(),
            session_id=current_caller.get().session_id,
            baggage=current_baggage(within.settings.baggage_keys).carrier,
            carried=capture_carried(),
        )

    @classmethod
    def of(cls, snapshot: TaskContextSnapshot) -> SeenContext:
        """The context that a task with this snapshot sees.

        Raises:
            SnapshotError: (``malformed``) the snapshot's token is not valid.
        """
        return cls(
            task=None,
            access_token=token_from_json(snapshot.access_token_json),
            headers=snapshot.http_headers or {},
            request_id=snapshot.origin_request_id,
            session_id=snapshot.session_id,
            baggage={name: value for name, value in snapshot.trace_context.items() if name == BAGGAGE},
            carried=snapshot.carried,
        )

    @property
    def scope(self) -> str | None:
        """The caller's authorization scope, as :func:`taskctx.get_task_scope` returns it."""
        return token_scope(self.access_token)


def assert_restored(
    expected: FakeCaller | SeenContext | TaskContextSnapshot, seen: SeenContext | EllipsisType | None = ...
) -> None:
    """Assert that the seen caller is the expected caller.

    For a fake caller, headers that are never captured are left out, and only the carried ContextVars that it names are
    compared.  For a SeenContext or a snapshot, baggage and all carried ContextVars are compared too.  The identity of
    the task is not compared.

    Args:
        expected: a fake caller (:data:`~taskctx.testing.NOBODY` for an anonymous one), the context that the submitter
            saw, or a snapshot.
        seen: the context that the task saw (:attr:`TaskRun.seen`); by default the current one, in a task's body.

    Raises:
        AssertionError: the callers differ, or ``seen`` is None because the task's body did not run.  The message lists
            the differences.  For tokens, headers, sessions, baggage and carried values it gives the names, never the
            values.
        InvalidType: an argument has the wrong type.
    """
    __tracebackhide__ = True
    wanted = _wanted(expected)
    if seen is None:
        raise AssertionError("no caller was seen, not even an anonymous one: the task's body did not run")
    differences = list(_differences(wanted, SeenContext.here() if seen is ... else _checked(seen)))
    if differences:
        raise AssertionError("\n  ".join(("the caller that is seen is not the one that was expected:", *differences)))


def _wanted(expected: FakeCaller | SeenContext | TaskContextSnapshot) -> FakeCaller | SeenContext:
    match expected:
        case FakeCaller() | SeenContext():
            return expected
        case TaskContextSnapshot():
            return SeenContext.of(expected)
        case _:  # pyright: ignore[reportUnnecessaryComparison]
            raise InvalidType(
                "assert_restored compares with a fake_caller(...), a SeenContext or a TaskContextSnapshot, "
                f"not {type(expected).__name__}"
            )


def _checked(seen: object) -> SeenContext:
    if not isinstance(seen, SeenContext):
        raise InvalidType(f"assert_restored takes what the task saw, such as run.seen, not {type(seen).__name__}")
    return seen


def _differences(expected: FakeCaller | SeenContext, seen: SeenContext) -> Iterator[str]:
    yield from _of_tokens(expected.access_token, seen.access_token)
    yield from _of_mappings("headers", allowed_headers(lowered(expected.headers), runtime().may_travel), seen.headers)
    if expected.request_id != seen.request_id:
        yield f"request_id: expected {expected.request_id!r}, seen {seen.request_id!r}"
    yield from _of_secrets("session_id", expected.session_id, seen.session_id)
    if isinstance(expected, SeenContext):
        yield from _of_mappings("baggage", expected.baggage, seen.baggage)
        yield from _of_mappings("carried", expected.carried, seen.carried)
    elif expected.carried:
        with expected.bound():
            wanted = capture_carried()
        yield from _of_mappings("carried", *(_only(expected.carried, values) for values in (wanted, seen.carried)))


def _only(names: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _of_tokens(expected: AccessToken | None, seen: AccessToken | None) -> Iterator[str]:
    if expected is None or seen is None:
        if expected is not seen:
            yield f"access_token: expected {_owner(expected)}, seen {_owner(seen)}"
        return
    if token_scope(expected) != token_scope(seen):
        yield f"access_token: expected {_owner(expected)}, seen {_owner(seen)}"
    for name in ("scopes", "expires_at", "resource"):
        wanted, found = getattr(expected, name), getattr(seen, name)
        if wanted != found:
            yield f"access_token.{name}: expected {wanted!r}, seen {found!r}"
    yield from _of_secrets("access_token.token", expected.token, seen.token)
    yield from _of_mappings("access_token.claims", expected.claims or {}, seen.claims or {})


def _owner(token: AccessToken | None) -> str:
    return "none" if token is None else f"one of scope {token_scope(token)!r}"


def _of_secrets(name: str, expected: str | None, seen: str | None) -> Iterator[str]:
    if expected == seen:
        return
    if expected is None or seen is None:
        yield f"{name}: expected {_presence(expected)}, seen {_presence(seen)}"
    else:
        yield f"{name}: another value (values are not shown)"


def _presence(value: str | None) -> str:
    return "none" if value is None else "one"


def _of_mappings(name: str, expected: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterator[str]:
    both = expected.keys() & seen.keys()
    parts = {
        "missing": expected.keys() - seen.keys(),
        "not expected": seen.keys() - expected.keys(),
        "other values (not shown)": {key for key in both if expected[key] != seen[key]},
    }
    said = [f"{what}: {', '.join(sorted(names))}" for what, names in parts.items() if names]
    if said:
        yield f"{name}: {'; '.join(said)}"
