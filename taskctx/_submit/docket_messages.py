"""What Docket's own messages hold of the submitter's trace, and that they hold no baggage.

Docket injects the current OpenTelemetry context into each message, in clear text, and with it all of the baggage,
whatever ``baggage_keys`` and the encryption keys say.  It reads back the trace context only, as a link, so nothing
is missed.  Can go when Docket injects the trace context alone (tests/upstream/test_docket.py).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from docket.instrumentation import MessageSetter

_BAGGAGE = ("baggage", "uberctx-", "ot-baggage-")
"""Beginnings of the names that the W3C, Jaeger and OpenTracing propagators give it."""

_carriers: ContextVar[Mapping[bytes, Mapping[str, str]] | None] = ContextVar("taskctx_carriers", default=None)
"""In a batch, what each message is to hold, by its task's key."""


def keep_baggage_out() -> None:
    """Have Docket leave baggage out of every message that this process schedules."""
    if MessageSetter.set is not _set_unless_baggage:
        MessageSetter.set = _set_unless_baggage


@contextmanager
def carrying(carriers: Mapping[str, Mapping[str, str]]) -> Generator[None]:
    """Have each message hold its own submitter's trace context, by its task's key, in place of the current one."""
    token = _carriers.set({key.encode(): carrier for key, carrier in carriers.items()})
    try:
        yield
    finally:
        _carriers.reset(token)


_set = MessageSetter.set


def _set_unless_baggage(self: MessageSetter, carrier: Any, key: str, value: str) -> None:
    carriers = _carriers.get()
    # the propagator calls this once for each name that it has; the message's own are set at the first call
    entries = {key: value} if carriers is None else carriers.get(carrier[b"key"], {})
    for name, own in entries.items():
        if not name.lower().startswith(_BAGGAGE):
            _set(self, carrier, name, own)
