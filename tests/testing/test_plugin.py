"""The pytest plugin, in runs of pytest of its own: there without set-up, and at no cost for tests that do not use it."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest

from tests.helpers import run_well

pytest_plugins = ["pytester"]

HEAVY = {"taskctx", "docket", "pydantic", "prometheus_client"}


@pytest.fixture(autouse=True)
def alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest's settings are the directory's own."""
    pytester.makeini("[pytest]\nasyncio_mode = auto\n")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def test_it_is_found_by_name() -> None:
    """``-p no:taskctx`` leaves it out, so the name is public."""
    (entry,) = metadata.entry_points(group="pytest11", name="taskctx")
    assert entry.value == "pytest_taskctx"


def test_pytest_starts_without_what_it_does_not_need(pytester: pytest.Pytester) -> None:
    """Of taskctx and what it imports, nothing, although the fixtures are known."""
    pytester.makepyfile(f"""
        import sys

        def test_nothing_was_imported(request):
            assert request.config.pluginmanager.hasplugin("taskctx")
            assert not {HEAVY!r} & sys.modules.keys()
    """)
    ran = pytester.runpytest_subprocess()
    ran.assert_outcomes(passed=1)


def test_the_plugin_imports_pytest_alone() -> None:
    """Importing the plugin imports neither taskctx nor another large package."""
    code = f"import sys, pytest_taskctx; print(sorted({HEAVY!r} & sys.modules.keys()))"
    ran = run_well([sys.executable, "-c", code])
    assert ran.stdout.strip() == "[]"


def test_its_fixtures_are_described(pytester: pytest.Pytester) -> None:
    """``pytest --fixtures`` shows them, without importing taskctx."""
    ran = pytester.runpytest_subprocess("--fixtures", "-q")
    for name in ("taskctx_caller", "taskctx_metrics", "taskctx_spans"):
        ran.stdout.re_match_lines_random([rf"{name} .*"])


def test_its_fixtures_are_of_one_test_each(pytester: pytest.Pytester) -> None:
    """What one counts and records, the next does not see."""
    pytester.makepyfile("""
        import pytest
        from taskctx import get_task_scope
        from taskctx.testing import assert_restored, run_as_worker

        async def whose():
            return get_task_scope()

        @pytest.mark.parametrize("again", range(2))
        async def test_a_task(again, taskctx_caller, taskctx_metrics, taskctx_spans):
            run = await run_as_worker(whose, caller=taskctx_caller)()
            assert run.result == taskctx_caller.scope == "fake-client|ada"
            assert_restored(taskctx_caller, run.seen)
            assert taskctx_metrics.value("taskctx_restores_total", outcome="ok") == 1
            assert [span.name for span in taskctx_spans.finished] == [
                "taskctx.capture", "taskctx.save", "taskctx.restore"
            ]
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


def test_its_counts_are_of_one_test_each_in_multiprocess_mode_too(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where production's variable is in the tests' environment, and both tests use one docket."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(pytester.mkdir("shared")))
    pytester.makepyfile("""
        import pytest
        from docket import Docket
        from taskctx.testing import run_as_worker

        async def nothing(): ...

        @pytest.mark.parametrize("again", range(2))
        async def test_a_task(again, taskctx_caller, taskctx_metrics):
            async with Docket(name="always-the-same", url=f"memory://{again}") as docket:
                await run_as_worker(nothing, caller=taskctx_caller, docket=docket)()
            assert taskctx_metrics.value("taskctx_restores_total", outcome="ok") == 1
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


def test_a_failing_comparison_reads_well_and_shows_no_credential(pytester: pytest.Pytester) -> None:
    """The output has no credential, even with all local variables."""
    pytester.makepyfile("""
        from taskctx.testing import assert_restored, fake_caller, restored

        async def test_whose(taskctx_caller):
            async with restored(taskctx_caller) as seen:
                assert_restored(fake_caller("bob"), seen)
    """)
    ran = pytester.runpytest_subprocess("--showlocals")
    ran.assert_outcomes(failed=1)
    ran.stdout.re_match_lines(
        [
            r"E +AssertionError: the caller that is seen is not the one that was expected:",
            r"E +access_token: expected one of scope 'fake-client\|bob', seen one of scope 'fake-client\|ada'",
        ]
    )
    assert "fake-token" not in ran.stdout.str()
    assert "fake-session" not in ran.stdout.str()
    assert "_seen.py" not in ran.stdout.str()


def test_spans_without_the_sdk_say_what_to_install(pytester: pytest.Pytester) -> None:
    """The rest works without it."""
    pytester.makeconftest("""
        import sys
        import docket
        sys.modules["opentelemetry.sdk.trace"] = None
    """)
    pytester.makepyfile("""
        def test_spans(taskctx_spans): ...
        def test_metrics(taskctx_metrics): ...
    """)
    ran = pytester.runpytest_subprocess()
    ran.assert_outcomes(passed=1, errors=1)
    ran.stdout.re_match_lines([r"E +ModuleNotFoundError: .*taskctx_spans.* needs opentelemetry-sdk: pip install .*"])


def test_it_can_be_left_out(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_caller(taskctx_caller): ...")
    ran = pytester.runpytest_subprocess("-p", "no:taskctx")
    ran.assert_outcomes(errors=1)
    ran.stdout.re_match_lines([r"E +fixture 'taskctx_caller' not found"])
