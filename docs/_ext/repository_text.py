"""Pages of the site that have text of the repository in them, and links that lead on from there.

A line that holds nothing but a link to a section of a document at the root, such as
``[Use it](../../README.md#use-it)``, becomes that section: who reads the page in the repository follows the link, who
reads the site reads on.  So nothing is written twice.

Links to documents that have no page, or to files of the repository, become their text: the site does not know where
the repository is.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

ROOT = Path(__file__).parents[2]

PAGES = {
    "README.md": "/index.md",
    "SECURITY.md": "/security.md",
    "CHANGELOG.md": "/changelog.md",
}
"""Documents at the root, and the pages that have their text."""

SECTIONS = {
    "use-it": "/quickstart/fastapi.md",
    "what-is-captured": "/concepts.md",
    "when-something-fails": "/concepts.md",
    "tokens-that-expire-in-the-queue": "/how-to/refresh-tokens.md",
    "sealed-at-rest": "/how-to/seal.md",
    "fastmcp-servers": "/quickstart/fastmcp.md",
    "several-processes": "/how-to/several-processes.md",
    "settings": "/reference/settings.md",
}
"""Sections of the README, and the pages that have their text."""

_QUOTATION = re.compile(r"^\[[^\]]+\]\((?:\.\./)+([A-Z]+\.md)(?:#([\w-]+))?\)$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    folder = PurePosixPath("docs", page).parent
    text = _relinked(source[0], folder)
    for document in {found[1] for found in _QUOTATION.finditer(source[0])}:
        app.env.note_dependency(str(ROOT / document))
    source[0] = text


def _relinked(text: str, folder: PurePosixPath) -> str:
    """The text with its quotations in place, and its links as they are on the site; code stays as it is."""
    parts = _FENCED.split(text)
    return "".join(part if _FENCED.match(part) else _prose(part, folder) for part in parts)


def _prose(text: str, folder: PurePosixPath) -> str:
    kept = 0
    made = ""
    for quotation in _QUOTATION.finditer(text):
        made += _with_links(text[kept : quotation.start()], folder) + _quoted(quotation[1], quotation[2])
        kept = quotation.end()
    return made + _with_links(text[kept:], folder)


def _quoted(document: str, section: str | None) -> str:
    """A section of a document at the root, without its heading."""
    text = (ROOT / document).read_text()
    if section is None:
        return _relinked(text.split("\n", 1)[1], PurePosixPath())
    for part in re.split(r"^## ", text, flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        if heading.lower().replace(" ", "-") == section:
            return _relinked(body.strip(), PurePosixPath())
    raise LookupError(f"{document} has no section {section}")


def _with_links(text: str, folder: PurePosixPath) -> str:
    return _LINK.sub(lambda link: _link(link[1], link[2], folder), text)


def _link(text: str, target: str, folder: PurePosixPath) -> str:
    path, _, anchor = target.partition("#")
    if "://" in path or (not path and anchor not in SECTIONS):
        return f"[{text}]({target})"
    if not path:
        return f"[{text}]({SECTIONS[anchor]})"
    place = _normal(folder / path)
    page = PAGES.get(str(place)) or (f"/{place.relative_to('docs')}" if _is_page(place) else None)
    if page is None:
        return f"`{text}`" if "`" not in text else text
    return f"[{text}]({page}{'#' if anchor else ''}{anchor})"


def _is_page(place: PurePosixPath) -> bool:
    return place.is_relative_to("docs") and place.suffix == ".md"


def _normal(place: PurePosixPath) -> PurePosixPath:
    """Without ``..``; the root of the repository is the root."""
    parts: list[str] = []
    for part in place.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return PurePosixPath(*parts)
