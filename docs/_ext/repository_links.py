"""Links of pages to files of the repository that the site does not have become their text.

Read in the repository, they lead to the file.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _read(_app: Sphinx, page: str, source: list[str]) -> None:
    """For Sphinx's ``source-read``: change the text in place; code stays as it is."""
    folder = PurePosixPath("docs", page).parent
    parts = _FENCED.split(source[0])
    source[0] = "".join(
        part if _FENCED.match(part) else _LINK.sub(lambda link: _linked(link[1], link[2], folder), part)
        for part in parts
    )


def _linked(text: str, target: str, folder: PurePosixPath) -> str:
    path, _, _anchor = target.partition("#")
    place = _normal(folder / path)
    if not path or "://" in path or (place.is_relative_to("docs") and place.suffix == ".md"):
        return f"[{text}]({target})"
    return text if "`" in text else f"`{text}`"


def _normal(place: PurePosixPath) -> PurePosixPath:
    """Without ``..``; the root of the repository is the root."""
    parts: list[str] = []
    for part in place.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return PurePosixPath(*parts)
