"""Which parts of a caller's context there are, by name: for telemetry, which must not see the values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import compress
from types import MappingProxyType
from typing import Any

from .._caller.trace_context import BAGGAGE, TRACEPARENT
from ..operations import FIELDS, Field, FieldResult, Outcome


def present_parts(
    *,
    access_token_json: str | None,
    http_headers: Mapping[str, str] | None,
    session_id: str | None,
    origin_request_id: str | None,
    trace_context: Mapping[str, str],
    carried: Mapping[str, Any],
) -> tuple[Field, ...]:
    """The parts that a snapshot with these values holds, in their order."""
    trace, baggage = trace_context.get(TRACEPARENT), trace_context.get(BAGGAGE)
    values = (access_token_json, http_headers, session_id, origin_request_id, trace, baggage, carried)
    return tuple(compress(FIELDS, values))


@cache
def capture_results(
    present: tuple[Field, ...], *, headers_dropped: bool, baggage_dropped: bool
) -> tuple[Mapping[Field, frozenset[FieldResult]], Outcome]:
    """For each part of the context: was it there, and did all of it come along?  Some can be both.  And the outcome.

    Captures are alike in this in some hundreds of ways, each of which is found out once.
    """
    results = dict.fromkeys(FIELDS, _ABSENT) | dict.fromkeys(present, _CAPTURED)
    if headers_dropped:
        results[Field.HEADERS] = _ALSO_DROPPED[results[Field.HEADERS]]
    if baggage_dropped:
        results[Field.BAGGAGE] = _ALSO_DROPPED[results[Field.BAGGAGE]]
    return MappingProxyType(results), _capture_outcome(frozenset(results.values()))


_ABSENT, _CAPTURED = frozenset({FieldResult.ABSENT}), frozenset({FieldResult.CAPTURED})
_DROPPED = frozenset({FieldResult.DROPPED})
_ALSO_DROPPED = {_ABSENT: _DROPPED, _CAPTURED: _CAPTURED | _DROPPED}
_NOTHING = frozenset({_ABSENT})


def _capture_outcome(results: frozenset[frozenset[FieldResult]]) -> Outcome:
    """Partial when a part was there and nothing of it came along; empty when there was nothing at all."""
    if _DROPPED in results:
        return Outcome.PARTIAL
    return Outcome.EMPTY if results == _NOTHING else Outcome.OK
