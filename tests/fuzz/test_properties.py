"""The targets under Hypothesis, with inputs made to look right: the coverage-guided run finds what is odd elsewhere.

Examples are the same on every run and few; ``python -m tests.fuzz`` is the one that searches.
"""

from __future__ import annotations

import base64
import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskctx import AccessToken
from taskctx._snapshot.codec import MAGIC
from taskctx._snapshot.snapshot import StoredSnapshot
from tests.fuzz import targets
from tests.fuzz.seeds import BAGGAGE, SEEDS, TRACEPARENT, TRACESTATE, WORDS
from tests.fuzz.targets import TARGETS
from tests.secrets import secret
from tests.strategies import JSON

few = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
fewer = settings(few, max_examples=40)


# ---- what inputs are made of ----

ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=20)
"""Lone surrogates included."""

DELIMITED = st.lists(st.sampled_from([*WORDS, " ", "\t", "a", "ä", "%", "+", "|", "\x00"]) | ANY_TEXT, max_size=12).map(
    "".join
)
"""Words, delimiters and escapes in any order."""

NUMBERS = st.sampled_from(
    [
        "NaN",
        "-Infinity",
        "1e400",
        "-1e400",
        "5e-324",
        "-0.0",
        "1" * 309,
        "9" * 4300,
        "9" * 5000,
        "-" + "1" * 400,
        "01",
        "1.",
    ]
)
"""What JSON's numbers can be and ought not to be."""


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


DEPTHS = st.sampled_from([1, 50, 198, 199, 200, 201, 1_000, 100_000]).map(nested)
FRAGMENTS = JSON.map(json.dumps) | NUMBERS | DEPTHS | ANY_TEXT.map(json.dumps) | DELIMITED
"""JSON of any kind, and what is nearly JSON."""

FIELDS = st.sampled_from([*(each.name for each in fields(StoredSnapshot)), "unknown"])
OBJECTS = st.lists(st.tuples(FIELDS, FRAGMENTS), max_size=6).map(
    lambda pairs: "{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}"
)
"""Objects with a snapshot's fields, of wrong types and twice."""


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """A genuine input with a piece of it replaced."""

    def replace(seed: bytes, start: int, length: int, piece: bytes) -> bytes:
        start %= len(seed) + 1
        return seed[:start] + piece + seed[start + length :]

    place, length = st.integers(0, 2_000), st.integers(0, 8)
    return st.builds(replace, st.sampled_from(seeds), place, length, st.binary(max_size=4) | DELIMITED.map(encoded))


@pytest.mark.parametrize("name", TARGETS)
def test_genuine_inputs(name: str) -> None:
    """The seeds of the coverage-guided run hold, so that it starts at all; and so does nothing."""
    for data in (*SEEDS[name], b""):
        TARGETS[name](data)


@pytest.mark.parametrize("name", list(TARGETS))
@given(st.data())
@fewer
def test_nearly_genuine_inputs(name: str, data: st.DataObject) -> None:
    """No target fails on a genuine input with one changed place."""
    TARGETS[name](data.draw(mutated(SEEDS[name])))


# ---- each surface with a structure of its own ----


@given(OBJECTS.map(encoded) | FRAGMENTS.map(encoded) | st.binary())
@few
def test_snapshots(data: bytes) -> None:
    """JSON of wrong types, nested too deep, with numbers too large, with names twice; and what is no UTF-8."""
    TARGETS["snapshot_json"](data)


@given(st.sampled_from([b"", MAGIC, MAGIC + b"\xff", MAGIC + b"\x00", MAGIC + b"\x072026-11"]), st.binary(max_size=300))
@few
def test_envelopes(beginning: bytes, rest: bytes) -> None:
    """Beginnings of an envelope with anything behind: long ids, no ids, known ids."""
    TARGETS["envelope"](beginning + rest)


@given(st.lists(ANY_TEXT | DELIMITED, min_size=4, max_size=4))
@few
def test_task_keys(segments: list[str]) -> None:
    """Scopes and ids of any text, as they are and as a key's segments; too many segments, and too few."""
    for beginning, separator, count in (
        ("", "\n", 4),
        ("", ":", 4),
        ("auth:", ":", 4),
        ("anon:", ":", 3),
        ("anon:", ":", 2),
    ):
        TARGETS["task_key"](encoded(beginning + separator.join(segments[:count])))


@st.composite
def keyrings(draw: st.DrawFn) -> str:
    """Entries in every form that tools print and people mistype."""
    key_id = st.sampled_from(["2026-11", "a", "a b", "", "a" * 64, "a" * 65, "ä", "\ud800"]) | ANY_TEXT
    material = st.binary(min_size=31, max_size=33) | st.just(bytes(32)) | st.binary(max_size=40)
    form = st.sampled_from([base64.b64encode, base64.urlsafe_b64encode])
    entries: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        text = draw(form)(draw(material)).decode()
        text = draw(
            st.sampled_from([text, text.rstrip("="), text + "=", f" {text} ", text[:-1] + "é", text[:3] + "=" + text])
        )
        entries.append(f"{draw(key_id)}{draw(st.sampled_from([':', ':', ':', '', '::', ' : ']))}{text}")
    return draw(st.sampled_from([",", ", ", ",,", "\n"])).join(entries)


@given(keyrings())
@few
def test_keyrings(text: str) -> None:
    """Either all of it is a keyring, or the place of the fault is named, or it is empty."""
    TARGETS["keyring"](encoded(text))


NAMES = st.sampled_from(
    [
        b"traceparent",
        b"Tracestate",
        b"BAGGAGE",
        b"x-request-id",
        b"X-Request-ID",
        b"mcp-session-id",
        b"Cookie",
        b"a",
        b"A",
        b"",
    ]
) | st.binary(max_size=10)
VALUES = (
    st.sampled_from(
        [TRACEPARENT, TRACESTATE, BAGGAGE, secret("baggage"), f"a={secret('baggage')}", f"{secret('x')}=é"]
    ).map(str.encode)
    | mutated([each.encode() for each in (TRACEPARENT, TRACESTATE, BAGGAGE)])
    | st.binary(max_size=40)
    | st.sampled_from([b" ", b"\t", b",", b";", b"a=b,", b"%ff", b"=", b"\xff"]).map(lambda piece: piece * 5_000)
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
@few
def test_requests(pairs: list[tuple[bytes, bytes]]) -> None:
    """Any bytes as names and values, trace context and baggage above all; secrets in what is refused are not logged."""
    targets.request(pairs)


@given(st.lists(VALUES, max_size=3))
@few
def test_carriers(values: list[bytes]) -> None:
    """A snapshot's trace context is taken over, or is not."""
    TARGETS["carrier"](b"\n".join(values))


TOKENS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"token": JSON, "client_id": st.just("reports-app") | JSON},
    optional=dict.fromkeys(AccessToken.model_fields.keys() - {"token", "client_id"}, JSON),
)


@given(OBJECTS | TOKENS.map(json.dumps) | FRAGMENTS)
@fewer
def test_restores(text: str) -> None:
    """Whatever lies under a task's key, the task runs as its caller, anonymous, or not at all."""
    TARGETS["restoring"](encoded(text))
