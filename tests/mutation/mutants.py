"""The mutants of a module: its syntax tree with one change each."""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from tests.mutation.operators import WITHOUT_BEHAVIOUR, replacements

PACKAGE = Path(__file__).parents[2] / "taskctx"
SHOWN = 60
"""Characters left standing on either side of a change, in a line that is too long."""


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        name: where it is and what it does, the same as long as the changed line is: how a survivor is accepted.
    """

    module: str
    line: int
    name: str
    _tree: ast.Module
    _place: _Place
    _replacement: ast.AST

    def compiled(self) -> CodeType:
        """The module with the change, which the shared tree has from now on: to be called in a process of its own."""
        self._place.put(self._replacement)
        tree = ast.fix_missing_locations(self._tree)
        return compile(tree, str(path_of(self.module)), "exec", dont_inherit=True)


@dataclass(frozen=True)
class _Place:
    """Where a node hangs: a field of another, or an index in it; and the statement that is shown of it."""

    holder: ast.AST
    field: str
    index: int | None
    statement: ast.stmt
    scope: str

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.holder, self.field, node)
        else:
            getattr(self.holder, self.field)[self.index] = node


def path_of(module: str) -> Path:
    """Where a module of ours is, by its name below the package."""
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def mutants_of(module: str) -> list[Mutant]:
    """Every mutant of a module of ours."""
    return mutants_in(path_of(module).read_text("utf-8"), module)


def mutants_in(source: str, module: str) -> list[Mutant]:
    """Every mutant of a source."""
    tree = ast.parse(source)
    found: list[Mutant] = []
    names: Counter[str] = Counter()
    for node, place in _places(tree, "", None):
        for replacement in replacements(node):
            name = f"{module}{place.scope}: {_change(node, place, replacement)}"
            names[name] += 1
            again = f" ({names[name]})" if names[name] > 1 else ""
            line = getattr(node, "lineno", place.statement.lineno)
            found.append(Mutant(module, line, name + again, tree, place, replacement))
    return found


def _places(holder: ast.AST, scope: str, statement: ast.stmt | None) -> Iterator[tuple[ast.AST, _Place]]:
    """Every node that may be replaced, with its place."""
    for field, value in ast.iter_fields(holder):
        if field in {"annotation", "returns", "type_params"}:
            continue
        for index, node in enumerate(value) if isinstance(value, list) else ((None, value),):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            if not isinstance(node, ast.AST) or _is_left_alone(node, holder, statement):
                continue
            named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            inner = f"{scope}.{node.name}" if named else scope
            shown = node if isinstance(node, ast.stmt) else statement
            if shown is not None:
                yield node, _Place(holder, field, index, shown, inner)  # pyright: ignore[reportUnknownArgumentType]
            yield from _places(node, inner, shown)


def _is_left_alone(node: ast.AST, holder: ast.AST, statement: ast.stmt | None) -> bool:
    """Wording (docstrings, messages, explanations), the type that a ``cast`` is to, and what has no behaviour."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        is_cast = isinstance(holder, ast.Call) and ast.unparse(holder.func) == "cast"
        return is_cast or isinstance(holder, ast.Expr) or isinstance(statement, ast.Raise)
    if isinstance(node, ast.keyword):
        return node.arg in WITHOUT_BEHAVIOUR
    return isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_EXPLANATIONS"


def _change(node: ast.AST, place: _Place, replacement: ast.AST) -> str:
    """The line that changes, before and after."""
    before = ast.unparse(place.statement).splitlines()
    if node is place.statement:
        after = ast.unparse(ast.fix_missing_locations(replacement)).splitlines()
    else:
        place.put(replacement)
        after = ast.unparse(ast.fix_missing_locations(place.statement)).splitlines()
        place.put(node)
    removed = [line[2:].strip() for line in difflib.ndiff(before, after) if line.startswith("- ")]
    added = [line[2:].strip() for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    return "  =>  ".join(_shortened(" ".join(removed) or "...", " ".join(added) or "..."))


def _shortened(before: str, after: str) -> tuple[str, str]:
    """The two lines without what they have in common far from the change."""
    if max(len(before), len(after)) <= 2 * SHOWN:
        return before, after
    start = next((i for i, (b, a) in enumerate(zip(before, after, strict=False)) if b != a), 0)
    end = next((i for i, (b, a) in enumerate(zip(before[::-1], after[::-1], strict=False)) if b != a), 0)
    first, rest = max(0, start - SHOWN), max(0, end - SHOWN)
    return tuple("…" * (first > 0) + line[first : len(line) - rest] + "…" * (rest > 0) for line in (before, after))  # type: ignore[return-value]
