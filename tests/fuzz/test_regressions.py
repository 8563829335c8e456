"""Inputs that once made a target fail, at their smallest."""

from __future__ import annotations

import pytest
from opentelemetry import baggage, context

from taskctx import TaskContextSnapshot
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize(
    ("target", "data"),
    [
        pytest.param("task_key", b"anon:\xed\xa0\x80:task:report", id="a lone surrogate"),
        pytest.param("task_key", b"auth:\xff:1:task:report", id="a byte that is not UTF-8"),
        pytest.param("snapshot_json", b'{"captured_at": NaN}', id="captured at no time"),
        pytest.param("snapshot_json", b'{"captured_at": 1e400}', id="captured at the end of time"),
        pytest.param("snapshot_json", b'{"stored_at": -Infinity}', id="stored before all time"),
        pytest.param("restoring", b"1" * 310, id="a token that expires after all floats"),
        pytest.param("restoring", b"-" + b"1" * 310, id="a token that expired before all floats"),
    ],
)
def test_found(target: str, data: bytes) -> None:
    """The target holds."""
    TARGETS[target](data)


@pytest.mark.parametrize(("key", "value"), [("tenant", "\ud800"), ("\ud800", "acme")], ids=["value", "key"])
def test_baggage_without_a_form_on_the_wire(key: str, value: str) -> None:
    """It is left out, and the rest is captured."""
    current = baggage.set_baggage(key, value, baggage.set_baggage("region", "north"))
    token = context.attach(current)
    try:
        snapshot = TaskContextSnapshot.capture()
    finally:
        context.detach(token)
    assert snapshot.trace_context["baggage"] == "region=north"
