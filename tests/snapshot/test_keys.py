"""Task keys: each key has one reading, and belongs to one scope."""

from __future__ import annotations

import string

import pytest
from docket import Docket
from hypothesis import given, settings
from hypothesis import strategies as st

import taskctx
from taskctx._snapshot.keys import TaskKeyParts, build_task_key, parse_task_key, snapshot_key

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)
"""Any text that UTF-8 can hold."""

TRICKY = st.text(st.sampled_from(":%#|/_ +.~anonuth32A5Fä"), min_size=1, max_size=8)
"""Delimiters, escapes, and the letters of the key's own words."""

PARTS = st.builds(TaskKeyParts, st.none() | TEXT, TEXT, TEXT, TEXT)
TRICKY_PARTS = st.builds(TaskKeyParts, st.none() | TRICKY, TRICKY, TRICKY, TRICKY)

RAW_KEYS = st.one_of(
    st.text(),
    st.lists(TRICKY | st.just(""), max_size=7).map(":".join),
    st.lists(TRICKY, min_size=3, max_size=4).map(lambda rest: ":".join(("auth", *rest))),
    st.lists(TRICKY, min_size=2, max_size=4).map(lambda rest: ":".join(("anon", *rest))),
    st.lists(TEXT, min_size=3, max_size=4).map(lambda rest: ":".join(("auth", *rest))),
)
"""Keys that are ours, nearly ours, and nothing like ours."""


@given(PARTS | TRICKY_PARTS)
@settings(deadline=None)
def test_a_key_is_read_as_what_it_was_built_from(parts: TaskKeyParts) -> None:
    """Parsing a key gives the segments that it was built from."""
    assert parse_task_key(build_task_key(*parts)) == parts


@given(PARTS | TRICKY_PARTS, PARTS | TRICKY_PARTS)
@settings(deadline=None)
def test_two_tasks_never_share_a_key(one: TaskKeyParts, other: TaskKeyParts) -> None:
    """Keys are equal exactly when everything they name is."""
    assert (build_task_key(*one) == build_task_key(*other)) == (one == other)


@given(PARTS | TRICKY_PARTS, PARTS | TRICKY_PARTS)
@settings(deadline=None)
def test_two_callers_tasks_never_share_a_snapshot(one: TaskKeyParts, other: TaskKeyParts) -> None:
    """A snapshot's key is of one scope and one task id."""
    keys = [snapshot_key("taskctx", parts.task_scope, parts.task_id) for parts in (one, other)]
    assert (keys[0] == keys[1]) == (one[:2] == other[:2])


@given(RAW_KEYS)
@settings(deadline=None)
def test_a_key_that_parses_is_the_only_way_to_write_it(key: str) -> None:
    """Parsing never raises, and accepts only what building gives."""
    parts = parse_task_key(key)
    assert parts is None or build_task_key(*parts) == key


@given(st.text(st.characters(), max_size=30), TRICKY)
@settings(deadline=None)
def test_text_that_is_not_utf8_is_no_key(text: str, segment: str) -> None:
    """Parsing never raises, not even for a lone surrogate."""
    for key in (text, f"auth:{text}:{segment}:task:report", f"anon:{text}:task:report"):
        parts = parse_task_key(key)
        assert parts is None or build_task_key(*parts) == key


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        ((None, "monthly", "task", "report"), "anon:monthly:task:report"),
        (("reports-app|ada", "monthly", "task", "report"), "auth:reports-app%7Cada:monthly:task:report"),
        (("anon", "a:b#c/d", "tool", "é"), "auth:anon:a%3Ab%23c%2Fd:tool:%C3%A9"),
        (("100%", "%25", "task", "_"), "auth:100%25:%2525:task:_"),
    ],
)
def test_the_format_of_a_key(parts: tuple[str | None, str, str, str], key: str) -> None:
    """The format is fixed: workers of other versions read it, and people too."""
    assert build_task_key(*parts) == key
    assert parse_task_key(key) == parts


def test_only_unreserved_characters_stand_for_themselves() -> None:
    """Letters, digits and ``_.-~`` (RFC 3986); all others are escaped, in task keys and in Redis keys alike."""
    kept = string.ascii_letters + string.digits + "_.-~"
    for character in map(chr, range(128)):
        escaped = character if character in kept else f"%{ord(character):02X}"
        key = f"anon:{escaped}:task:report"
        assert build_task_key(None, character, "task", "report") == key
        assert parse_task_key(key) == (None, character, "task", "report")
        assert snapshot_key("taskctx", character, "1") == f"taskctx:task:auth:{escaped}:1:snapshot"


async def test_the_key_of_a_task_that_was_added(docket: Docket) -> None:
    """Its type is ``task``, its component the name of the function."""

    async def report() -> None:
        """Never runs."""

    assert (await taskctx.add(docket, report, key="monthly")()).key == "anon:monthly:task:report"
    with taskctx.bind_caller(access_token=taskctx.AccessToken(token="t", client_id="reports-app")):
        assert (await taskctx.add(docket, report, key="monthly")()).key == "auth:reports-app:monthly:task:report"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "report",
        "anon",
        "anon:monthly:task",
        "anon::task:report",
        "anon:monthly:task:report:more",
        "auth:ada:monthly:task",
        "auth::monthly:task:report",
        "auth:ada:monthly:task:report:more",
        "AUTH:ada:monthly:task:report",
        "auth:a da:monthly:task:report",
        "auth:%61da:monthly:task:report",
        "auth:%7cada:monthly:task:report",
        "auth:%ff:monthly:task:report",
        "auth:%:monthly:task:report",
        "auth:ada!:monthly:task:report",
        "auth:ada/:monthly:task:report",
        "other:ada:monthly:task:report",
        "anon:\ud800:task:report",
    ],
)
def test_keys_that_are_not_ours(key: str) -> None:
    """Wrong counts, empty segments, and escapes that building would not write."""
    assert parse_task_key(key) is None


@pytest.mark.parametrize("scope", ["anon", "_", "auth", ":", "a:b", "#", "%", "anon:monthly"])
def test_no_scope_is_mistaken_for_the_anonymous_one(scope: str) -> None:
    """Anonymous and authenticated tasks live in disjoint keyspaces."""
    assert build_task_key(scope, "monthly", "task", "report").startswith("auth:")
    assert build_task_key(None, "monthly", "task", "report").startswith("anon:")
    assert snapshot_key("taskctx", scope, "monthly").startswith("taskctx:task:auth:")
    assert snapshot_key("taskctx", None, "monthly") == "taskctx:task:anon:monthly:snapshot"


each_segment = pytest.mark.parametrize(
    ("position", "name"), [(0, "task scope"), (1, "task id"), (2, "task type"), (3, "component")]
)


@each_segment
def test_an_empty_segment_is_refused(position: int, name: str) -> None:
    """The message names the empty segment; an empty scope does not mean anonymous."""
    segments = ["ada", "monthly", "task", "report"]
    segments[position] = ""
    with pytest.raises(taskctx.InvalidArgument, match=f"^the {name} must not be empty"):
        taskctx.build_task_key(*segments)


@pytest.mark.parametrize(("scope", "task_id", "name"), [("", "monthly", "task scope"), ("ada", "", "task id")])
def test_a_snapshot_has_a_scope_and_an_id_too(scope: str, task_id: str, name: str) -> None:
    """Its key is refused as a task's key is."""
    with pytest.raises(taskctx.InvalidArgument, match=f"^the {name} must not be empty"):
        snapshot_key("taskctx", scope, task_id)


@each_segment
@pytest.mark.parametrize("value", [7, b"bytes", ["list"], True])
def test_a_segment_that_is_not_a_string_is_refused(position: int, name: str, value: object) -> None:
    """The message names the segment's type and not its value."""
    segments: list[object] = ["ada", "monthly", "task", "report"]
    segments[position] = value
    with pytest.raises(taskctx.InvalidType, match=f"^the {name} must be a string, not {type(value).__name__}"):
        taskctx.build_task_key(*segments)  # type: ignore[arg-type]


@each_segment
def test_a_segment_that_is_not_utf8_is_refused(position: int, name: str) -> None:
    """Text with a lone surrogate has no key, and neither the error nor Python's own, behind it, shows the text."""
    segments = ["ada", "monthly", "task", "report"]
    segments[position] = "secret\ud800"
    with pytest.raises(taskctx.InvalidArgument, match=f"^the {name} must be text .* lone surrogate") as caught:
        taskctx.build_task_key(*segments)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
