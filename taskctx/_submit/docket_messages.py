"""Puts the submitter's trace context into Docket's messages, and keeps baggage out of them.

Docket injects the current OpenTelemetry context into each message in clear text, with all of the baggage, whatever
``baggage_keys`` and the encryption keys say.  Docket reads back only the trace context, as a link, so it does not
need the baggage.  Remove this module when Docket injects the trace context alone (tests/upstream/test_docket.py).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from docket.instrumentation import MessageSetter

_BAGGAGE = ("baggage", "uberctx-", "ot-baggage-")
"""Prefixes of the baggage fields that the W3C, Jaeger and OpenTracing propagators write."""

_carriers: ContextVar[Mapping[bytes, Mapping[str, str]] | None] = ContextVar("taskctx_carriers", default=None)
"""In a batch: the trace fields for each message, by the task's key."""


def keep_baggage_out() -> None:
    """Make Docket leave baggage out of every message that this process schedules."""
    if MessageSetter.set is not _set_unless_baggage:
        MessageSetter.set = _set_unless_baggage


@contextmanager
def carrying(carriers: Mapping[str, Mapping[str, str]]) -> Generator[None]:
    """Put each submitter's trace context into its own message, by the task's key, in place of the current one."""
    token = _carriers.set({key.encode(): carrier for key, carrier in carriers.items()})
    try:
        yield
    finally:
        _carriers.reset(token)


_set = MessageSetter.set


def _set_unless_baggage(self: MessageSetter, carrier: Any, key: str, value: str) -> None:
    carriers = _carriers.get()
    # the propagator calls this once for each of its fields; a batch's fields are all set at the first call
    entries = {key: value} if carriers is None else carriers.get(carrier[b"key"], {})
    for name, own in entries.items():
        if not name.lower().startswith(_BAGGAGE):
            _set(self, carrier, name, own)
