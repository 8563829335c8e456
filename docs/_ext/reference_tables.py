"""Tables of the reference, made from the code: settings, metrics, spans, reasons.

::

    ```{taskctx-table} settings
    ```
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, Final, Literal, get_args, get_origin

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from taskctx.errors import Reason
from taskctx.settings import DENIED_HEADERS, ENVIRONMENT_PREFIX, Settings
from taskctx.telemetry.names import METRICS, Attribute, Metric, Span

Rows = list[tuple[str, ...]]


def settings() -> Rows:
    """Each with its variable, its default and what its docstring says."""
    said = _docstrings("taskctx.settings", "Settings")
    # two fields in a row share the docstring of the second
    names = list(Settings.model_fields)
    shared = dict(pairwise(names))
    rows: Rows = [("setting", "variable", "default", "meaning")]
    for name, field in Settings.model_fields.items():
        meaning = said.get(name) or said[shared[name]]
        meaning += _choice(field.annotation)
        rows.append((f"`{name}`", f"`{ENVIRONMENT_PREFIX}{name.upper()}`", _default(field.default), meaning))
    return rows


def _choice(annotation: object) -> str:
    if get_origin(annotation) is not Literal:
        return ""
    return f" One of {_code(get_args(annotation))}."


def _default(value: object) -> str:
    if value in (None, ()):
        return "none"
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def denied_headers() -> Rows:
    return [("pattern",), *((f"`{pattern}`",) for pattern in DENIED_HEADERS)]


def metrics() -> Rows:
    head = ("metric", "kind", "labels", "what it says")
    return [head, *((f"`{each.name}`", each.kind, _code(each.labels), _described(each)) for each in METRICS)]


def _described(metric: Metric) -> str:
    buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
    return metric.description + buckets


def spans() -> Rows:
    return [("span",), *((f"`{name}`",) for name in Span)]


def attributes() -> Rows:
    return [("attribute",), *((f"`{name}`",) for name in Attribute)]


def reasons() -> Rows:
    return [("reason", "likely cause, and what to do"), *((f"`{each}`", each.explanation) for each in Reason)]


TABLES: dict[str, Callable[[], Rows]] = {
    "settings": settings,
    "denied-headers": denied_headers,
    "metrics": metrics,
    "spans": spans,
    "attributes": attributes,
    "reasons": reasons,
}


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _docstrings(module: str, owner: str) -> dict[str, str]:
    """What stands below the attributes of a class, in Markdown."""
    found = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {name: " ".join(lines).strip().replace("``", "`") for (of, name), lines in found.items() if of == owner}


class ReferenceTable(SphinxDirective):
    """``taskctx-table NAME``: one of :data:`TABLES`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        head, *rows = TABLES[self.arguments[0]]()
        lines = [head, tuple("---" for _ in head), *rows]
        text = StringList([_line(cells) for cells in lines])
        made = nodes.Element()
        self.state.nested_parse(text, self.content_offset, made)
        return made.children


MOVED: Final = {"taskctx.worker_dependencies": ("taskctx._worker.dependency", "worker_dependencies")}
"""Data that is public under another name than where its docstring stands."""


def _find_docstring(*event: Any) -> None:
    """For Sphinx's ``autodoc-process-docstring``: change the lines in place."""
    _app, _what, name, _thing, _options, lines = event
    if name in MOVED:
        module, attribute = MOVED[name]
        lines[:] = ModuleAnalyzer.for_module(module).find_attr_docs()["", attribute]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("taskctx-table", ReferenceTable)
    app.connect("autodoc-process-docstring", _find_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
