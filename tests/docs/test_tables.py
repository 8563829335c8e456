"""The tables of the reference are what the code says."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from typing import Any

import pytest

import taskctx
from taskctx.settings import DENIED_HEADERS
from taskctx.telemetry.names import METRICS, Attribute, Span
from tests.docs.pages import DOCS, PAGES, read

TABLES: dict[str, Any] = runpy.run_path(str(DOCS / "tables.py"))
filled: Callable[[str], str] = TABLES["filled"]
MADE = [page for page in PAGES if "<!-- made by docs/tables.py" in read(page)]


@pytest.mark.parametrize("page", MADE)
def test_tables_are_up_to_date(page: str) -> None:
    """``make reference`` puts them there."""
    assert read(page) == filled(read(page)), "run make reference"


def test_every_table_is_in_a_page() -> None:
    """Every table is in exactly one page."""
    named = re.findall(r"^<!-- made by docs/tables\.py: (\S+) -->$", "\n".join(map(read, PAGES)), re.MULTILINE)
    assert sorted(named) == sorted(TABLES["TABLES"])


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("settings", [*taskctx.Settings.model_fields, *DENIED_HEADERS]),
        ("telemetry", [*(metric.name for metric in METRICS), *Span, *Attribute]),
        ("reasons", list(taskctx.Reason)),
        ("cli", ["taskctx doctor", "taskctx dashboards export", "--limit"]),
        ("api", [f"taskctx.{name}" for name in ("add", "worker_dependencies", "Reason")]),
    ],
)
def test_each_name_has_a_row(page: str, names: list[str]) -> None:
    """Every setting, metric, span, attribute and reason, and nothing made up."""
    text = read(f"reference/{page}.md")
    assert [name for name in names if f"`{name}`" not in text] == []
