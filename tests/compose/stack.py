"""A clone of the repository and the stack that compose makes of it, on ports and under a name of its own."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from taskctx.cli.processes import free_port
from tests.compose.engine import Engine
from tests.processes.support import ROOT

PORTS = ("API_PORT", "GRAFANA_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "JAEGER_PORT")
PROFILES = ("--profile", "*")


@dataclass
class Stack:
    """Runs compose in the clone.

    Attributes:
        directory: the clone.
        settings: what is in its ``.env``.
        files: compose's files, where it is not the one that it finds by itself.
    """

    engine: Engine
    directory: Path
    settings: dict[str, str] = field(default_factory=dict[str, str])
    files: tuple[str, ...] = ()

    @classmethod
    def cloned(cls, engine: Engine, folder: Path, *, umask: int = 0o022, files: Iterable[str] = ()) -> Stack:
        """From what is committed."""
        project = f"taskctx-check-{secrets.token_hex(3)}"
        directory = folder / project
        clone = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(directory)]
        subprocess.run(clone, check=True, timeout=60, umask=umask)
        stack = cls(engine, directory, {"COMPOSE_PROJECT_NAME": project}, tuple(files))
        stack.set(**{name: str(free_port()) for name in PORTS})
        return stack

    @property
    def project(self) -> str:
        return self.settings["COMPOSE_PROJECT_NAME"]

    def set(self, **settings: str) -> None:
        """Write ``.env``."""
        self.settings |= settings
        lines = (f"{name}={value}\n" for name, value in self.settings.items())
        (self.directory / ".env").write_text("".join(lines))

    def compose(self, *arguments: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """``docker compose`` as one types it; its exit code is for the caller to look at."""
        options = [word for file in self.files for word in ("--file", file)]
        return self._run("docker", "compose", *options, *arguments, seconds=seconds)

    def done(self, *arguments: str, seconds: float = 600) -> str:
        """What it prints, where it must succeed."""
        done = self.compose(*arguments, seconds=seconds)
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def up(self, *options: str) -> None:
        """All of README's services, healthy."""
        self.done("--profile", "load", "up", "--detach", *options, seconds=1200)
        self.until_healthy()

    def until_healthy(self, seconds: float = 300) -> None:
        self.until(lambda: not self.unwell(), seconds, "all are healthy", self.unwell)

    def until(self, condition: Callable[[], object], seconds: float, what: str, why: Callable[[], object]) -> None:
        """Wait for a condition; a server that does not answer yet is no error."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(httpx.TransportError):
                if condition():
                    return
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}: {why()}"
            time.sleep(0.5)

    def unwell(self) -> dict[str, str]:
        """The services that are not healthy or, without a health check, not running; and how they are."""
        found = {each["Config"]["Labels"]["com.docker.compose.service"]: each["State"] for each in self.containers()}
        wrong: dict[str, str] = {}
        for service, state in found.items():
            health = state.get("Health", {}).get("Status", "healthy")
            if service not in ENDS and (state["Status"], health) != ("running", "healthy"):
                wrong[service] = f"{state['Status']}, {health}"
        return wrong | dict.fromkeys(self.expected() - ENDS - set(found), "not there")

    def expected(self) -> set[str]:
        """The services that start without a profile."""
        return set(self.done("config", "--services").split())

    def containers(self) -> list[dict[str, Any]]:
        """All of the project's, as ``docker inspect`` has them."""
        ids = self.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", self._ours).split()
        return json.loads(self.docker("inspect", *ids)) if ids else []

    def said(self, service: str) -> str:
        """All that a service has printed."""
        (found,) = (
            each for each in self.containers() if each["Config"]["Labels"]["com.docker.compose.service"] == service
        )
        return self.logs(found)

    def logs(self, container: dict[str, Any], *options: str) -> str:
        """What one of :meth:`containers` has printed."""
        done = self.engine.docker("logs", *options, container["Id"])
        return done.stdout + done.stderr

    def left(self) -> dict[str, list[str]]:
        """What there is of the project: containers, networks, volumes."""
        listed = {
            "containers": ("ps", "--all", "--format", "{{.Names}}"),
            "networks": ("network", "ls", "--format", "{{.Name}}"),
            "volumes": ("volume", "ls", "--format", "{{.Name}}"),
        }
        found = {kind: self.docker(*words, "--filter", self._ours).split() for kind, words in listed.items()}
        return {kind: sorted(names) for kind, names in found.items() if names}

    def docker(self, *arguments: str) -> str:
        done = self.engine.docker(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def output(self, command: list[str]) -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    def client(self, port: str) -> httpx.Client:
        """A client of a port that compose publishes, by the name that ``.env`` has for it."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.settings[port]}", timeout=10)

    def asked(self, url: str) -> Any:
        """What a service answers another, as JSON: for ports that are not published."""
        code = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=30).read().decode())"
        return json.loads(self.done("exec", "-T", "api", "python", "-c", code, url))

    def secret(self, name: str) -> str:
        service = {"valkey": "api", "signing": "api", "grafana": "grafana"}[name.partition("/")[0]]
        return self.done("exec", "-T", service, "cat", f"/secrets/{name}").strip()

    def orders(self, count: int, rate: int = 10) -> dict[str, int]:
        """What came of so many reports, as the load generator counts them."""
        load = (
            "python",
            "-m",
            "examples.fastapi_service.load",
            "--url=http://api:8000",
            f"--rate={rate}",
            f"--count={count}",
        )
        done = self.compose("--profile", "load", "run", "--rm", "-T", "load", *load)
        return {outcome: int(number) for outcome, number in re.findall(r"^(\w+): (\d+)$", done.stdout, re.MULTILINE)}

    def remove(self) -> None:
        """Whatever a test left."""
        self.compose(*PROFILES, "down", "--volumes", "--remove-orphans")
        with suppress(AssertionError):
            self.docker("image", "rm", "--force", f"taskctx-reports:{self.project}")

    @property
    def _ours(self) -> str:
        return f"label=com.docker.compose.project={self.project}"

    def _run(self, *command: str, seconds: float) -> subprocess.CompletedProcess[str]:
        # what is in .env goes for this stack, whatever the shell has
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
        return subprocess.run(
            self.engine.command(*command),
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


_FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
ENDS = {name for name, service in _FILE["services"].items() if service["restart"] == "no"}
"""Services that end by themselves."""
