"""The list of names: what dashboards, alerts and tests read."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from taskctx.telemetry import names
from taskctx.telemetry.names import METRICS, Attribute, Metric, Span, TraceResult
from tests.telemetry import tree

UNITS = ("_seconds", "_bytes", "_ratio")
EVERY = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def test_no_name_is_given_twice() -> None:
    """No two metrics have the same name."""
    assert len({metric.name for metric in METRICS}) == len(METRICS) > 20


@EVERY
def test_a_name_is_in_the_form_that_prometheus_asks_for(metric: Metric) -> None:
    """Ours, in snake case; counters end in ``_total``, and nothing else does."""
    assert re.fullmatch(r"taskctx(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_created", "_info_total"))


@EVERY
def test_a_measured_value_has_its_unit(metric: Metric) -> None:
    """Histograms measure; so do gauges of seconds and bytes."""
    if metric.kind == "histogram":
        assert metric.name.endswith(UNITS)
    if metric.kind == "gauge" and not metric.name.endswith(UNITS):
        assert metric.name in {
            "taskctx_registry_entries",
            "taskctx_registry_capacity",
            "taskctx_snapshot_schema_version",
            "taskctx_build_info",
            "taskctx_encryption_key_info",
        }


@EVERY
def test_every_metric_is_described(metric: Metric) -> None:
    """The description of a metric is a sentence."""
    assert metric.description.endswith(".")
    assert metric.description[0].isupper()


@EVERY
def test_buckets_rise(metric: Metric) -> None:
    """Only histograms have them, and each is higher than the one before."""
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert all(low < high for low, high in pairwise(metric.buckets))
    assert all(isinstance(bound, float) for bound in metric.buckets)


@EVERY
def test_labels_are_names(metric: Metric) -> None:
    """No label is given twice, and none has a name that Prometheus or Docket uses for something else."""
    assert len(set(metric.labels)) == len(metric.labels)
    assert not {"docket", "task", "job", "instance", "le"} & set(metric.labels)


def test_spans_and_attributes_are_ours_or_conventions() -> None:
    """No name twice."""
    assert {span.value for span in Span} == {"taskctx.capture", "taskctx.save", "taskctx.restore"}
    for attribute in Attribute:
        assert attribute.value.startswith(("messaging.", "docket.", "error.", "taskctx."))
    assert {result.value for result in TraceResult} == {"continued", "unsampled", "absent", "invalid"}
    assert (names.OTHER_TASK, names.MAX_TASK_NAMES) == ("_other", 100)


def test_a_tree_of_nothing_is_empty() -> None:
    """The helper that the tracing tests read by."""
    none: list[ReadableSpan] = []
    assert tree(none) == ""
