"""The counts of captured fields: added up, and there whenever somebody looks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.metrics_core import Metric

import taskctx
from taskctx.operations import FIELDS, Field, FieldResult
from taskctx.telemetry.capture_fields import FieldCounts, ToldCounter

NAME = "taskctx_capture_fields_total"
FOUND = dict.fromkeys(FIELDS, frozenset({FieldResult.CAPTURED}))
PARTLY = FOUND | {Field.HEADERS: frozenset({FieldResult.CAPTURED, FieldResult.DROPPED})}


def counts(*, at_once: bool = False) -> tuple[CollectorRegistry, ToldCounter, FieldCounts]:
    registry = CollectorRegistry()
    family = ToldCounter("taskctx_capture_fields", "Fields.", ["field", "result"], registry=registry)
    return registry, family, FieldCounts(family, at_once=at_once)


def value(registry: CollectorRegistry, field: Field, result: FieldResult) -> float | None:
    return registry.get_sample_value(NAME, {"field": field, "result": result})


def samples(collected: list[Metric]) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["field"], sample.labels["result"]): sample.value
        for metric in collected
        for sample in metric.samples
        if sample.name == NAME
    }


def test_every_series_is_there_before_anything_was_captured() -> None:
    registry, _, _ = counts()
    assert {value(registry, field, result) for field in Field for result in FieldResult} == {0}


def test_captures_that_are_not_alike_are_told_apart() -> None:
    """Each field's results, two of them where a part was left out; a capture that failed has none."""
    registry, _, fields = counts()
    for found in (FOUND, PARTLY, FOUND, {}):
        fields.add(found)
    assert value(registry, Field.HEADERS, FieldResult.CAPTURED) == 3
    assert value(registry, Field.HEADERS, FieldResult.DROPPED) == 1
    assert value(registry, Field.TOKEN, FieldResult.CAPTURED) == 3
    assert value(registry, Field.TOKEN, FieldResult.ABSENT) == 0


def test_what_was_read_goes_on_from_there() -> None:
    registry, _, fields = counts()
    for times in (1, 2, 3):
        fields.add(FOUND)
        assert value(registry, Field.TOKEN, FieldResult.CAPTURED) == times


def test_an_exposition_of_some_names_has_them() -> None:
    """``?name[]=`` of a scrape."""
    registry = CollectorRegistry()
    taskctx.configure(registry=registry)
    taskctx.TaskContextSnapshot.capture()
    text = generate_latest(registry.restricted_registry([NAME])).decode()
    assert f'{NAME}{{field="token",result="absent"}} 1.0' in text


def test_threads_lose_no_count_while_others_read() -> None:
    registry, _, fields = counts()

    def capture(_: int) -> None:
        for _ in range(500):
            fields.add(FOUND)
            if value(registry, Field.TOKEN, FieldResult.CAPTURED) == 0:
                raise AssertionError("what was counted is not there")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(capture, range(8)))
    assert value(registry, Field.CARRIED, FieldResult.CAPTURED) == 8 * 500


def test_who_reads_without_asking_misses_nothing_where_that_is_so() -> None:
    """Multiprocess mode: another process reads the files that the counters are in."""
    for at_once, there in ((True, 1), (False, 0)):
        _, family, fields = counts(at_once=at_once)
        fields.add(FOUND)
        assert samples(list(Counter.collect(family)))["token", "captured"] == there
