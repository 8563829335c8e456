"""The pictures of the documentation: each is shown, small, and loads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

MOST_BYTES = 2 * 1024 * 1024
PICTURES = sorted((DOCS / "pictures").iterdir())


def shown(page: Path) -> Iterator[tuple[str, Path]]:
    """The pictures of a page: what stands for each where it is not seen, and its file."""
    for text, target in re.findall(r"!\[(.*?)\]\((.*?)\)", page.read_text()):
        yield text, (page.parent / target).resolve()


def test_each_is_shown_and_each_that_is_shown_is_there() -> None:
    """In README.md or a page, with words for those who do not see it."""
    found = [each for page in (ROOT / "README.md", *DOCS.rglob("*.md")) for each in shown(page)]
    assert {path for _, path in found} == set(PICTURES)
    assert [path for text, path in found if not text] == []


def test_they_are_small() -> None:
    """Together they are below the limit, because every clone of the repository has them."""
    assert sum(path.stat().st_size for path in PICTURES) <= MOST_BYTES


@pytest.mark.parametrize("path", [path for path in PICTURES if path.suffix == ".svg"], ids=lambda path: path.name)
def test_a_drawing_loads_nothing(path: Path) -> None:
    """Neither fonts nor pictures: its only address is the name of the format."""
    addresses = set(re.findall(r"""(?:href|src)=|url\((?!#)|https?://[^\s<"']+""", path.read_text()))
    assert {address for address in addresses if "127.0.0.1" not in address} <= {
        "http://www.w3.org/2000/svg",
        "http://prometheus:9090",  # the title of a window
    }
