"""Has autodoc find the docstrings of data that is public under another name than where it stands."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata
from tables import documented


def _find_docstring(*event: Any) -> None:
    """For Sphinx's ``autodoc-process-docstring``: change the lines in place."""
    _app, _what, name, _thing, _options, lines = event
    lines[:] = documented(name) or lines


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("autodoc-process-docstring", _find_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
