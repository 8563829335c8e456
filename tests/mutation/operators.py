"""What may be changed in a syntax tree, one small fault at a time.

An operator takes a node and yields what may stand in its place.  Wording is left alone: docstrings, annotations, and
the messages of exceptions are not mutated.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
}
MEMBERS = {
    "Reason": ("INTERNAL", "MISSING"),
    "Outcome": ("OK", "FAILED"),
    "RunState": ("PENDING", "RUNNING"),
    "Disposition": ("SCHEDULED", "FAILED"),
    "_Standing": ("OURS", "THEIRS", "TAKEN_OVER"),
}
"""Enumerations, and members to put in each other's place."""

EXCHANGED = {"max": "min", "min": "max", "any": "all", "all": "any", "ceil": "floor", "floor": "ceil"}
DISPENSABLE = {"strip", "rstrip", "lstrip", "lower", "removeprefix", "replace", "encode", "decode"}
"""Methods of texts that are left out."""
RIGID = {"len", "isinstance", "cast", "type", "ContextVar"}
"""Functions that fail at once with other arguments, whatever the tests are."""
WITHOUT_BEHAVIOUR = {"slots", "maxsize"}
"""Keyword arguments that cost time or memory, and nothing else."""


def _but(node: ast.AST, **changes: Any) -> Any:
    changed = copy.copy(node)
    for field, value in changes.items():
        setattr(changed, field, value)
    return changed


def _without(items: list[Any], index: int) -> list[Any]:
    return [*items[:index], *items[index + 1 :]]


def _comparison(node: ast.Compare) -> Iterator[ast.expr]:
    for index, operator in enumerate(node.ops):
        for other in COMPARED[type(operator)]:
            yield _but(node, ops=[*node.ops[:index], other(), *node.ops[index + 1 :]])


def _and_or(node: ast.BoolOp) -> Iterator[ast.expr]:
    yield _but(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    for index in range(len(node.values)):
        rest = _without(node.values, index)
        yield _but(node, values=rest) if len(rest) > 1 else rest[0]


def _unary(node: ast.UnaryOp) -> Iterator[ast.expr]:
    if isinstance(node.op, ast.Not | ast.USub):
        yield node.operand


def _arithmetic(node: ast.BinOp) -> Iterator[ast.expr]:
    if type(node.op) in COMPUTED:
        yield _but(node, op=COMPUTED[type(node.op)]())


def _constant(node: ast.Constant) -> Iterator[ast.expr]:
    match node.value:
        case bool():
            yield ast.Constant(not node.value)
        case int() | float():
            yield ast.Constant(node.value + 1)
            yield ast.Constant(node.value - 1)
        case str():
            yield ast.Constant(node.value + "!X")
        case bytes():
            yield ast.Constant(node.value + b"!X")
        case _:
            return


def _member(node: ast.Attribute) -> Iterator[ast.expr]:
    if isinstance(node.value, ast.Name) and node.value.id in MEMBERS:
        other = next(name for name in MEMBERS[node.value.id] if name != node.attr)
        yield _but(node, attr=other)


def _bounds(node: ast.Slice) -> Iterator[ast.expr]:
    for field in ("lower", "upper"):
        bound = getattr(node, field)
        if bound is not None:
            yield _but(node, **{field: None})
            yield _but(node, **{field: ast.BinOp(bound, ast.Add(), ast.Constant(1))})


def _arguments(node: ast.Call) -> Iterator[ast.expr]:
    for index, keyword in enumerate(node.keywords):
        if keyword.arg not in WITHOUT_BEHAVIOUR:
            yield _but(node, keywords=_without(node.keywords, index))
    if isinstance(node.func, ast.Name) and node.func.id in RIGID:
        return
    for index, argument in enumerate(node.args):
        if not isinstance(argument, ast.Constant | ast.JoinedStr | ast.Starred):
            yield _but(node, args=[*node.args[:index], ast.Constant(None), *node.args[index + 1 :]])
    for index, (one, other) in enumerate(pairwise(node.args)):
        yield _but(node, args=[*node.args[:index], other, one, *node.args[index + 2 :]])


def _function(node: ast.Call) -> Iterator[ast.expr]:
    match node.func:
        case ast.Name(name) if name in EXCHANGED:
            yield _but(node, func=ast.Name(EXCHANGED[name], ast.Load()))
        case ast.Name("reversed" | "sorted"):
            yield node.args[0]
        case ast.Attribute(attr=name) if name in EXCHANGED:
            yield _but(node, func=_but(node.func, attr=EXCHANGED[name]))
        case ast.Attribute(receiver, name) if name in DISPENSABLE:
            yield receiver
        case _:
            return


def _condition(node: ast.If | ast.IfExp | ast.While) -> Iterator[ast.AST]:
    if isinstance(node.test, ast.Constant):
        return
    yield _but(node, test=ast.Constant(value=False))
    if not isinstance(node, ast.While):
        yield _but(node, test=ast.Constant(value=True))


def _filter(node: ast.comprehension) -> Iterator[ast.AST]:
    if node.ifs:
        yield _but(node, ifs=[])
        yield _but(node, ifs=[ast.Constant(value=False)])


def _loop(node: ast.For) -> Iterator[ast.AST]:
    yield _but(node, iter=ast.Tuple([], ast.Load()))


def _nothing(node: ast.Expr | ast.AugAssign | ast.Raise | ast.Delete | ast.Break | ast.Continue) -> Iterator[ast.stmt]:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.Yield)):
        yield ast.Pass()


def _value(node: ast.Assign | ast.AnnAssign | ast.Return) -> Iterator[ast.stmt]:
    """``x = y`` becomes ``x = None``, and ``return y`` ``return None``."""
    if node.value is not None and not isinstance(node.value, ast.Constant):
        yield _but(node, value=ast.Constant(None))


def _raised(node: ast.Raise) -> Iterator[ast.stmt]:
    if node.exc is None:
        return
    yield _but(node, exc=ast.Call(ast.Name("RuntimeError", ast.Load()), [], []))
    if node.cause is not None:
        yield _but(node, cause=None)


def _caught(node: ast.ExceptHandler) -> Iterator[ast.AST]:
    if isinstance(node.type, ast.Tuple):
        for index in range(len(node.type.elts)):
            yield _but(node, type=_but(node.type, elts=_without(node.type.elts, index)))
    elif node.type is not None:
        yield _but(node, type=ast.Name("ZeroDivisionError", ast.Load()))


def _context(node: ast.With | ast.AsyncWith) -> Iterator[ast.stmt]:
    """The body alone, where nothing in it needs the context manager's name."""
    if all(item.optional_vars is None for item in node.items):
        yield ast.If(ast.Constant(value=True), node.body, [])


def _case(node: ast.Match) -> Iterator[ast.stmt]:
    if len(node.cases) > 1:
        for index in range(len(node.cases)):
            yield _but(node, cases=_without(node.cases, index))


def _decorated(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[ast.stmt]:
    for index in range(len(node.decorator_list)):
        yield _but(node, decorator_list=_without(node.decorator_list, index))
    if isinstance(node, ast.ClassDef):
        for index in range(len(node.bases)):
            yield _but(node, bases=_without(node.bases, index))


Operator = Callable[[Any], Iterator[ast.AST]]

OPERATORS: list[tuple[tuple[type[ast.AST], ...], Operator]] = [
    ((ast.Compare,), _comparison),
    ((ast.BoolOp,), _and_or),
    ((ast.UnaryOp,), _unary),
    ((ast.BinOp,), _arithmetic),
    ((ast.Constant,), _constant),
    ((ast.Attribute,), _member),
    ((ast.Slice,), _bounds),
    ((ast.Call,), _arguments),
    ((ast.Call,), _function),
    ((ast.If, ast.IfExp, ast.While), _condition),
    ((ast.comprehension,), _filter),
    ((ast.For,), _loop),
    ((ast.Expr, ast.AugAssign, ast.Raise, ast.Delete, ast.Break, ast.Continue), _nothing),
    ((ast.Assign, ast.AnnAssign, ast.Return), _value),
    ((ast.Raise,), _raised),
    ((ast.ExceptHandler,), _caught),
    ((ast.With, ast.AsyncWith), _context),
    ((ast.Match,), _case),
    ((ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef), _decorated),
]


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """All that may stand in the node's place."""
    for types, operator in OPERATORS:
        if isinstance(node, types):
            yield from operator(node)
