"""The pytest plugin: fixtures of :mod:`taskctx.testing`, by the entry point ``pytest11``.

It stands beside the package and imports it in the fixtures' bodies only.  pytest loads every plugin at start, before
any ``conftest.py``: importing taskctx there would cost each run of pytest half a second and more, whether it tests
tasks or not, and would read ``TASKCTX_*`` before a ``conftest.py`` could set them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from taskctx.testing import FakeCaller, RecordedMetrics
    from taskctx.testing.spans import RecordedSpans


@pytest.fixture
def taskctx_caller() -> FakeCaller:
    """A fake caller, ada: token, headers, request id, session id (taskctx.testing.fake_caller makes others)."""
    from taskctx.testing import fake_caller

    return fake_caller()


@pytest.fixture
def taskctx_metrics() -> Iterator[RecordedMetrics]:
    """What taskctx counts in this test, in a registry of the test's own."""
    from taskctx.testing import recorded_metrics

    with recorded_metrics() as metrics:
        yield metrics


@pytest.fixture
def taskctx_spans() -> Iterator[RecordedSpans]:
    """The spans that taskctx makes in this test.  Needs opentelemetry-sdk."""
    from taskctx.testing.spans import recorded_spans

    with recorded_spans() as spans:
        yield spans
