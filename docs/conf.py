"""The site of the documentation: Sphinx, with pages in Markdown (MyST) and docstrings as they are."""

from __future__ import annotations

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

import taskctx

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "_ext")]

project = "taskctx"
author = "The taskctx authors"
copyright = author  # noqa: A001 - Sphinx's word
release = version = taskctx.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "repository_links", "moved_docstrings"]
exclude_patterns = ["_ext"]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
nitpicky = True
nitpick_ignore_regex = [
    # others' types, and those of ours that signatures name but nobody needs
    ("py:.*", r"(collections|dataclasses|datetime|dict|docket|logging|opentelemetry|prometheus_client|types)\b.*"),
    ("py:class", r"taskctx\.(\w+\.)?_.*|taskctx\.settings\.SettingsOverrides|P"),
    ("py:class", r"tuple\[str"),  # Sphinx splits tuple[str, ...] where a dataclass has a default for it
]
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"taskctx {release}"
html_copy_source = False
html_show_sphinx = False
html_theme_options: dict[str, list[str]] = {"top_of_page_buttons": []}

lexers["traceql"] = TextLexer()  # Pygments has none
