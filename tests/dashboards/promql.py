"""What a PromQL expression names, and which labels its result has: enough to find what would silently match nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

import promql_parser as pp

from dashboards.recording import GROUPS
from taskctx.errors import Reason
from taskctx.operations import FieldResult, Outcome
from taskctx.telemetry.metrics import EVICTION_CAUSES, LOOKUP_RESULTS, REGISTRIES
from taskctx.telemetry.names import METRICS, Metric, TraceResult

Labels = frozenset[str]

TARGET: Labels = frozenset({"job", "instance"})
"""What Prometheus adds to every series."""

_DOCKET: Labels = TARGET | {"docket_name"}
FOREIGN: dict[str, Labels] = {
    "up": TARGET,
    "process_start_time_seconds": TARGET,
    "ALERTS": frozenset({"alertname", "alertstate", "severity", "registry", "key_id"}) | _DOCKET,
    "docket_tasks_started_total": _DOCKET | {"docket_task", "docket_worker"},
    "docket_tasks_running": _DOCKET | {"docket_task", "docket_worker"},
    "docket_queue_depth": _DOCKET,
    "docket_schedule_depth": _DOCKET,
}
"""The few series of others that we ask for."""

CLOSED_SETS: dict[str, frozenset[str]] = {
    "outcome": frozenset(Outcome),
    "reason": frozenset(Reason),
    "result": frozenset({*FieldResult, *TraceResult, *LOOKUP_RESULTS}),
    "registry": frozenset(REGISTRIES),
    "cause": frozenset(EVICTION_CAUSES),
    "bound": frozenset({"write", "read_min", "read_max"}),
    "operation": frozenset({"seal", "open"}),
    "role": frozenset({"primary", "secondary"}),
    "alertstate": frozenset({"pending", "firing"}),
}

SAMPLE_VALUES = {
    "__rate_interval": "4m",
    "__range": "6h",
    "__range_s": "21600",
    "__interval": "1m",
    "job": "workers",
    "instance": "worker-1:9100",
    "docket": "orders",
    "registry": "session",
}
"""What Grafana would put in the place of its variables."""


class BadExpression(AssertionError):
    """The expression parses, and cannot give what it seems to ask for."""


def with_sample_values(expression: str) -> str:
    """The expression as Prometheus would get it."""
    return re.sub(r"\$\{?([a-z_]\w*)\}?", lambda match: SAMPLE_VALUES[match[1]], expression)


@dataclass(frozen=True, slots=True)
class Series:
    """One that is exposed or recorded; ``metric`` is what it is a part of, None for what is not ours."""

    labels: Labels
    metric: Metric | None = None


def exposed(metric: Metric) -> dict[str, Series]:
    """The series names of a metric family."""
    labels = TARGET | set(metric.labels)
    if metric.kind != "histogram":
        return {metric.name: Series(labels, metric)}
    parts = {"_bucket": labels | {"le"}, "_sum": labels, "_count": labels}
    return {metric.name + suffix: Series(of_part, metric) for suffix, of_part in parts.items()}


def known_series() -> dict[str, Series]:
    """Everything that an expression may name."""
    known = {name: Series(labels) for name, labels in FOREIGN.items()}
    for metric in METRICS:
        known |= exposed(metric)
    for rule in recorded():
        known[rule] = Series(labels_of(recorded()[rule], known))
    return known


def recorded() -> dict[str, str]:
    """The expressions of recorded series, by name."""
    return {rule.record: rule.expr for group in GROUPS for rule in group.rules}


def metrics_behind(expression: str) -> set[Metric]:
    """The metric families that an expression reads, through recorded series too."""
    found: set[Metric] = set()
    for name in named_series(expression):
        if name in recorded():
            found |= metrics_behind(recorded()[name])
        elif (metric := KNOWN[name].metric) is not None:
            found.add(metric)
    return found


def named_series(expression: str) -> set[str]:
    """The series that an expression names."""
    return {selector.name or "" for selector in _selectors(pp.parse(with_sample_values(expression)))}


def labels_of(expression: str, known: dict[str, Series] | None = None) -> Labels:
    """The labels of an expression's result.

    Raises:
        BadExpression: it names a series, a label or a label's value that does not exist, or matches vectors whose labels differ.
        ValueError: it does not parse.
    """
    return _Reader(KNOWN if known is None else known).labels(pp.parse(with_sample_values(expression)))


def _selectors(expression: pp.Expr) -> list[pp.VectorSelector]:
    found: list[pp.VectorSelector] = []

    def visit(each: pp.Expr) -> bool:
        if isinstance(each, pp.MatrixSelector):
            found.append(each.vector_selector)
        if isinstance(each, pp.VectorSelector):
            found.append(each)
        return True

    pp.walk(expression, visit)
    return found


@dataclass(frozen=True, slots=True)
class _Reader:
    known: dict[str, Series]

    def labels(self, node: pp.Expr) -> Labels:
        match node:
            case pp.VectorSelector():
                return self._selected(node)
            case pp.MatrixSelector():
                return self._selected(node.vector_selector)
            case pp.ParenExpr() | pp.UnaryExpr() | pp.SubqueryExpr():
                return self.labels(node.expr)
            case pp.AggregateExpr():
                return self._aggregated(node)
            case pp.Call():
                return self._called(node)
            case pp.BinaryExpr():
                return self._combined(node)
            case pp.NumberLiteral():
                return frozenset()
            case _:
                raise BadExpression(f"no rule for {type(node).__name__}")

    def _selected(self, selector: pp.VectorSelector) -> Labels:
        name = selector.name or ""
        if name not in self.known:
            raise BadExpression(f"there is no series {name!r}")
        series = self.known[name]
        for matcher in selector.matchers.matchers:
            if matcher.name not in series.labels:
                raise BadExpression(f"{name} has no label {matcher.name!r}")
            self._check_value(name, series, matcher)
        return series.labels

    def _check_value(self, name: str, series: Series, matcher: pp.Matcher) -> None:
        if matcher.name == "le" and series.metric is not None:
            bounds = {str(float(bound)) for bound in series.metric.buckets}
            if matcher.value not in bounds or float(matcher.value).is_integer():
                raise BadExpression(f"{name} has no bucket that Prometheus 2 and 3 both write as le={matcher.value!r}")
        if matcher.name in CLOSED_SETS:
            patterns = matcher.value.split("|") if matcher.op in (pp.MatchOp.Re, pp.MatchOp.NotRe) else []
            values = CLOSED_SETS[matcher.name] | set(SAMPLE_VALUES.values())
            for value in patterns or [matcher.value]:
                if not any(re.fullmatch(value if patterns else re.escape(value), each) for each in values):
                    raise BadExpression(f"{name} has no {matcher.name} {value!r}")

    def _aggregated(self, node: pp.AggregateExpr) -> Labels:
        inner = self.labels(node.expr)
        named = frozenset[str]() if node.modifier is None else frozenset(node.modifier.labels)
        if not named <= inner:
            raise BadExpression(f"{node.op} by {sorted(named - inner)}, which there is not")
        if str(node.op) in {"topk", "bottomk"}:
            return inner
        if node.modifier is None:
            return named
        return named if node.modifier.type == pp.AggModifierType.By else inner - named

    def _called(self, node: pp.Call) -> Labels:
        if node.func.name == "absent":
            return frozenset()
        vectors = [self.labels(each) for each in node.args if not isinstance(each, pp.StringLiteral)]
        labels = frozenset[str]().union(*vectors)
        if node.func.name in {"label_replace", "label_join"}:
            return labels | {_text(node.args[1])}
        if node.func.name == "histogram_quantile":
            if "le" not in labels:
                raise BadExpression("histogram_quantile of something without le")
            return labels - {"le"}
        return labels

    def _combined(self, node: pp.BinaryExpr) -> Labels:
        left, right = self.labels(node.lhs), self.labels(node.rhs)
        if _is_scalar(node.lhs) or _is_scalar(node.rhs):
            return left | right
        operator = str(node.op)
        if operator == "or":
            return left | right
        matching = node.modifier.matching if node.modifier else None
        if matching is None:
            if left != right:
                raise BadExpression(f"{operator} of {sorted(left)} and {sorted(right)} matches nothing")
            return left
        named = frozenset(matching.labels)
        if matching.type == pp.LabelModifierType.Include:
            if not named <= left & right:
                raise BadExpression(f"{operator} on {sorted(named)} of {sorted(left)} and {sorted(right)}")
        elif left - named != right - named:
            raise BadExpression(f"{operator} ignoring {sorted(named)} of {sorted(left)} and {sorted(right)}")
        card = node.modifier.card if node.modifier else None
        if card == pp.VectorMatchCardinality.OneToMany:
            return right
        many = card is not None and card != pp.VectorMatchCardinality.OneToOne
        return left if many else named if matching.type == pp.LabelModifierType.Include else left - named


def _text(node: pp.Expr) -> str:
    assert isinstance(node, pp.StringLiteral)
    return node.val


def _is_scalar(node: pp.Expr) -> bool:
    match node:
        case pp.NumberLiteral():
            return True
        case pp.Call():
            return node.func.name == "time"
        case pp.ParenExpr() | pp.UnaryExpr():
            return _is_scalar(node.expr)
        case pp.BinaryExpr():
            return _is_scalar(node.lhs) and _is_scalar(node.rhs)
        case _:
            return False


KNOWN = known_series()
