"""Docket's own messages: they hold no baggage.

Docket injects the current OpenTelemetry context into each message, in clear text, and with it all of the baggage,
whatever ``baggage_keys`` and the encryption keys say.  It reads back the trace context only, as a link, so nothing
is missed.  Can go when Docket injects the trace context alone (tests/upstream/test_docket.py).
"""

from __future__ import annotations

from typing import Any

from docket.instrumentation import MessageSetter

_BAGGAGE = ("baggage", "uberctx-", "ot-baggage-")
"""Beginnings of the names that the W3C, Jaeger and OpenTracing propagators give it."""


def keep_baggage_out() -> None:
    """Have Docket leave baggage out of every message that this process schedules."""
    if MessageSetter.set is not _set_unless_baggage:
        MessageSetter.set = _set_unless_baggage


_set = MessageSetter.set


def _set_unless_baggage(self: MessageSetter, carrier: Any, key: str, value: str) -> None:
    if not key.lower().startswith(_BAGGAGE):
        _set(self, carrier, key, value)
