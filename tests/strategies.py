"""What snapshots and records are made of, for Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
"""Any text that UTF-8 can hold."""

TEXTS = st.dictionaries(TEXT, TEXT, max_size=5)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

SNAPSHOT_FIELDS: dict[str, Any] = {
    "access_token_json": st.none() | TEXT,
    "http_headers": st.none() | st.dictionaries(TEXT.map(str.lower), TEXT, max_size=5),
    "origin_request_id": st.none() | TEXT,
    "session_id": st.none() | TEXT,
    "trace_context": TEXTS,
    "carried": st.dictionaries(TEXT, JSON, max_size=4),
    "captured_at": st.none() | FLOATS,
    "required": st.lists(TEXT, max_size=2).map(tuple),
}
"""Whatever a snapshot's fields may hold, its schema's version aside."""
