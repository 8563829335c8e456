"""The tables of the reference, made from the code: ``make reference`` puts them into the pages.

A table stands between two comments, of which the first names it::

    <!-- made by docs/tables.py: settings -->
    <!-- end -->
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final, Literal, cast, get_args, get_origin

from sphinx.pycode import ModuleAnalyzer
from typer.core import TyperArgument, TyperGroup
from typer.main import get_command

from taskctx.cli import app
from taskctx.errors import Reason
from taskctx.settings import DENIED_HEADERS, ENVIRONMENT_PREFIX, Settings
from taskctx.telemetry.names import METRICS, Attribute, Metric, Span

DOCS = Path(__file__).parent

_PLACE = re.compile(r"^(<!-- made by docs/tables\.py: (\S+) -->\n).*?^(<!-- end -->)$", re.MULTILINE | re.DOTALL)

Rows = list[tuple[str, ...]]


def settings() -> Rows:
    """Each with its variable, its default and what its docstring says."""
    said = _docstrings("taskctx.settings", "Settings")
    rows: Rows = [("setting", "variable", "default", "meaning")]
    for name, field in Settings.model_fields.items():
        meaning = said[name] + _choice(field.annotation)
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


def commands() -> Rows:
    """The subcommands of ``taskctx``."""
    return [("command", "what it does"), *((f"`taskctx {name}`", command.help or "") for name, command in _COMMANDS)]


def arguments() -> Rows:
    """What each subcommand takes."""
    rows: Rows = [("command", "argument", "default", "meaning")]
    for name, command in _COMMANDS:
        for each in command.params:
            rows.append((f"`{name}`", f"`{_typed(each)}`", _given(each), _meaning(each)))
    return rows


def _typed(parameter: Any) -> str:
    if isinstance(parameter, TyperArgument):
        return (parameter.name or "").upper()
    return ", ".join((*parameter.opts, *parameter.secondary_opts))


def _meaning(parameter: Any) -> str:
    said = getattr(parameter, "help", None) or ""
    return f"{said} Or set `{parameter.envvar}`." if parameter.envvar else said


def _given(parameter: Any) -> str:
    if parameter.default in (None, (), [], False, "") or callable(parameter.default):
        return ""
    return f"`{parameter.default}`"


def _leaves(group: TyperGroup, before: str = "") -> Iterable[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def names() -> Rows:
    """Every public name that the page of the API documents, and the first sentence of its docstring."""
    page = (DOCS / "reference/api.md").read_text()
    found = re.findall(r"^\.\. auto(?:function|class|data|exception):: ([\w.]+)", page, re.MULTILINE)
    return [("name", "what it is"), *((f"`{name}`", _first_sentence(name)) for name in found)]


def _first_sentence(name: str) -> str:
    lines = documented(name) or inspect.cleandoc(resolve_name(name).__doc__).splitlines()
    paragraph = " ".join("\n".join(lines).strip().split("\n\n", 1)[0].split())
    sentence = re.split(r"(?<=[.:])\s", paragraph, maxsplit=1)[0].rstrip(".:")
    return _in_markdown(sentence) + "."


def _in_markdown(text: str) -> str:
    """A docstring's text, with its roles (``:func:`` and others) and its literals as code."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text.replace("``", "`"))


MOVED: Final = {"taskctx.worker_dependencies": ("taskctx._worker.dependency", "worker_dependencies")}
"""Data that is public under another name than where its docstring stands."""


def documented(name: str) -> list[str]:
    """The lines of the docstring of data that is public under another name; empty for all else."""
    if name not in MOVED:
        return []
    module, attribute = MOVED[name]
    return ModuleAnalyzer.for_module(module).find_attr_docs()["", attribute]


def _docstrings(module: str, owner: str) -> dict[str, str]:
    """What stands below the attributes of a class, in Markdown."""
    found = ModuleAnalyzer.for_module(module).find_attr_docs()
    said = {name: " ".join(" ".join(lines).split()) for (of, name), lines in found.items() if of == owner}
    return {name: _in_markdown(text) for name, text in said.items()}


def versions() -> Rows:
    """The sets of versions that were tested by ``make compat``."""
    sets: dict[str, Any] = json.loads((DOCS.parent / "taskctx/cli/doctor/tested.json").read_text())
    rows: Rows = [("what people have", "versions", "`memory://`", "Valkey", "date")]
    pinned: dict[str, str] = sets["pinned"]["versions"]
    for name, each in sets.items():
        differ = {package: found for package, found in each["versions"].items() if pinned.get(package) != found}
        results = (each["results"][backend] for backend in ("memory", "valkey"))
        listed = _listed(pinned if name == "pinned" else differ)
        rows.append((each["stands_for"], listed, *map(_counted, results), each["date"]))
    return rows


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in versions.items())


def _counted(result: dict[str, int]) -> str:
    failed = f", {result['failed']} failed" if result["failed"] else ""
    return f"{result['passed']} passed{failed}"


TABLES: dict[str, Callable[[], Rows]] = {
    "settings": settings,
    "denied-headers": denied_headers,
    "metrics": metrics,
    "spans": spans,
    "attributes": attributes,
    "reasons": reasons,
    "commands": commands,
    "arguments": arguments,
    "names": names,
    "versions": versions,
}


def _markdown(rows: Rows) -> str:
    head, *body = rows
    return "".join(_line(cells) for cells in (head, tuple("---" for _ in head), *body))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def filled(page: str) -> str:
    """A page's text with its tables as they are to be."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{_markdown(TABLES[place[2]]())}\n{place[3]}", page)


def main() -> None:
    """Put the tables into all pages."""
    for path in DOCS.rglob("*.md"):
        path.write_text(filled(path.read_text()))


_COMMANDS = tuple(_leaves(cast("TyperGroup", get_command(app))))

if __name__ == "__main__":
    main()
