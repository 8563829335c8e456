"""No input costs more than linear time: the work grows as the input does.

Work is counted, not timed, so that no load of the machine makes a test fail.  Python's is the number of its bytecode
instructions, ours and those of the libraries written in Python (OpenTelemetry's parsers, ``urllib``); memory is the peak
of what Python allocated.  What runs in C or Rust cannot be counted in this way.  Where its work may grow faster than
its input, what it is given to do is counted instead, at the end of this file: characters copied, keys compared, blanks
scanned.  JSON, base64 and AES-GCM are left to their libraries.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import base64
import json
import re
import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.baggage import propagation

from benchmarks.counting import counting_instructions
from taskctx import TaskContextError, TaskContextSnapshot
from taskctx._caller.resets import Resets
from taskctx._caller.trace_context import span_context, use_baggage
from taskctx._snapshot import keys as _keys
from taskctx._snapshot.codec import MAGIC
from taskctx._snapshot.keys import parse_task_key
from taskctx.asgi import TaskContextMiddleware
from taskctx.settings import keyring as _keyring
from taskctx.settings.keyring import _decoded, parse_keyring
from tests.fuzz.seeds import TRACEPARENT
from tests.fuzz.targets import PLACE, SEALING, run

Call = Callable[[], object]
Measure = Callable[[Call], int]


def instructions(call: Call) -> int:
    """Bytecode instructions that a call takes, in whatever module."""
    with counting_instructions() as count:
        call()
        return count()


def peak(call: Call) -> int:
    """Bytes that a call holds at most, beyond what there was."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


ONCE = 5_000
"""Instructions or bytes that are no part of the growth, such as a log line where a limit is passed."""


def assert_linear(measure: Measure, shape: Callable[[int], Call], size: int) -> None:
    """For eight times the size eight times as much, or sixteen where a dictionary grew; quadratic would be 64."""
    measure(shape(size))  # what is made once and kept
    assert measure(shape(8 * size)) <= 16 * measure(shape(size)) + ONCE


# ---- each surface, as a function of its input ----


def from_json(text: str) -> Call:
    return _refusable(lambda: TaskContextSnapshot.from_json(text))


def from_key(text: str) -> Call:
    def parse() -> None:
        _keys._decoded.cache_clear()  # what was asked before costs nothing
        parse_task_key(text)

    return _refusable(parse)


def from_keyring(text: str) -> Call:
    return _refusable(lambda: parse_keyring(text))


def opened(stored: bytes) -> Call:
    return _refusable(lambda: SEALING.decode(stored, PLACE))


def requested(headers: Iterable[tuple[bytes, bytes]]) -> Call:
    """A request that submits a task: its context is captured and written."""

    async def app(*_: object) -> None:
        TaskContextSnapshot.capture().to_json()

    async def never(*_: object) -> Any:
        raise AssertionError

    scope = {"type": "http", "headers": list(headers)}
    return lambda: run(TaskContextMiddleware(app)(scope, never, never))


def carried(**carrier: str) -> Call:
    """A snapshot's trace context, taken over."""

    def take_over() -> None:
        span_context(carrier)
        with Resets() as resets:
            use_baggage(carrier, resets)

    return take_over


def _refusable(call: Call) -> Call:
    def attempted() -> None:
        with suppress(TaskContextError, ValueError):
            call()

    return attempted


def keyring_of(count: int) -> str:
    return ",".join(f"k{number}:{base64.b64encode(number.to_bytes(32)).decode()}" for number in range(count))


SHAPES: dict[str, Callable[[int], Call]] = {
    "JSON: open brackets": lambda n: from_json('{"carried": ' + "[" * n),
    "JSON: one field many times": lambda n: from_json("{" + '"session_id": "", ' * n + '"ttl": 1}'),
    "JSON: many headers": lambda n: from_json(json.dumps({"http_headers": {f"X-{i}": "" for i in range(n)}})),
    "JSON: many headers of wrong types": lambda n: from_json(json.dumps({"http_headers": {f"X-{i}": 1 for i in range(n)}})),
    "JSON: many carried values": lambda n: from_json('{"carried": {"x": [' + "[1.5], " * n + "null]}}"),
    "JSON: a long number": lambda n: from_json('{"ttl": ' + "1" * n + "}"),
    "JSON: escapes": lambda n: from_json('{"session_id": "' + "\\u00e9\\ud83d\\ude00" * n + '"}'),
    "a task key: delimiters": lambda n: from_key("auth" + ":" * n),
    "a task key: escapes": lambda n: from_key("anon:" + "%C3%A9%00" * n + ":task:report"),
    "a task key: escapes that are none": lambda n: from_key("anon:" + "%é%C3%" * n + ":task:report"),
    "a keyring: many keys": lambda n: from_keyring(keyring_of(n)),
    "a keyring: delimiters": lambda n: from_keyring("a" + "," * n),
    "a keyring: one long key": lambda n: from_keyring("a:" + "-_=" * n),
    "an envelope: nothing known": lambda n: opened(MAGIC + b"\xff" * n),
    "an envelope: a forgery": lambda n: opened(MAGIC + b"\x072026-11" + b"\0" * n),
    "a request: many headers": lambda n: requested((b"x-%d" % i, b"v") for i in range(n)),
    "a request: one header many times": lambda n: requested([(b"x-tenant", b"v")] * n),
    "a request: cookies": lambda n: requested([(b"cookie", b"a=1")] * n),
    "a request: a long name": lambda n: requested([(b"x-" * n + b"-token", b"v")]),
    "a request: baggage many times": lambda n: requested([(b"baggage", b"a=1")] * n),
    "trace context: a long traceparent": lambda n: carried(traceparent=TRACEPARENT + "-" * n),
    "trace context: members of tracestate": lambda n: carried(traceparent=TRACEPARENT, tracestate=",a=1" * n),
    "trace context: blanks in tracestate": lambda n: carried(traceparent=TRACEPARENT, tracestate="a=" + " " * n),
    "trace context: empty members of baggage": lambda n: carried(baggage="," * n),
    "trace context: properties in baggage": lambda n: carried(baggage="a=b" + ";c=d" * n),
    "trace context: escapes in baggage": lambda n: carried(baggage="a=" + "%C3%A9" * n),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_instructions(shape: Callable[[int], Call]) -> None:
    """Python's own work."""
    assert_linear(instructions, shape, 200)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_memory(shape: Callable[[int], Call]) -> None:
    """The peak of memory grows linearly with the input, also for refused inputs."""
    assert_linear(peak, shape, 1_000)


# ---- what is given to C to do ----


class Copied(str):
    """Text that counts the characters copied where something is put behind it."""

    __slots__ = ()
    total = 0

    def __add__(self, other: str) -> Copied:
        Copied.total += len(self) + len(other)
        return Copied(super().__add__(other))


class Sent(bytes):
    """A header's value whose text is counted."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> Copied:
        return Copied(super().decode(encoding, errors))


def test_characters_copied() -> None:
    """A header that is sent many times is put together once."""

    def copied(call: Call) -> int:
        Copied.total = 0
        call()
        return Copied.total

    assert_linear(copied, lambda n: requested([(b"x-tenant", Sent(b"v"))] * n), 200)


class Compared(bytes):
    """Key material that counts how often it is compared."""

    total = 0
    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        Compared.total += 1
        return super().__eq__(other)


def test_keys_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that stands there twice is found without comparing all with all."""

    def compared(call: Call) -> int:
        Compared.total = 0
        call()
        return Compared.total

    def decoded(material: str, place: int) -> bytes:
        return Compared(_decoded(material, place))

    monkeypatch.setattr(_keyring, "_decoded", decoded)
    assert_linear(compared, lambda n: from_keyring(keyring_of(n)), 50)


@pytest.mark.parametrize("blanks", [" ", "\t", " \t"])
@pytest.mark.parametrize("around", ["a=b{},c=d", "a{}a", "{}", "a=b;c{}d", "a=b,{}"])
def test_blanks_scanned(blanks: str, around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's pattern for a comma and blanks around it begins anew at each blank of a run."""
    scanned = 0

    def split(pattern: re.Pattern[str], text: str) -> list[str]:
        nonlocal scanned
        scanned += sum(len(found[0]) ** 2 for found in re.finditer(r"[ \t]+", text))
        return re.split(pattern, text)

    def scans(call: Call) -> int:
        nonlocal scanned
        scanned = 0
        call()
        return scanned

    monkeypatch.setattr(propagation, "split", split)
    assert_linear(scans, lambda n: carried(baggage=around.format(blanks * n)), 200)
    assert_linear(scans, lambda n: requested([(b"baggage", around.format(blanks * n).encode())]), 200)
