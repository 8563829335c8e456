"""The stack's files fit together: what can be known of it without a container engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.tools import alert_log, readable
from tests.deploy.compose import (
    BUILT,
    COMPOSE,
    ROOT,
    SERVICES,
    defaults,
    load,
    mounts,
    option,
    source_of,
    volumes,
)

RUN_AS_ROOT: dict[str, str] = {}
"""Services that run as root, each with the reason."""

WITHOUT_HEALTHCHECK = {
    "secrets": "ends at once, and others wait for it to end well",
    "load": "ends by itself",
    "fault": "ends by itself",
    "otel-collector": "no shell in its image",
    "tempo": "no shell in its image",
}

READS = {
    "valkey-secret": {"valkey", "api", "worker-1", "worker-2", "worker-3", "worker-n", "fault"},
    "signing-secret": {"api", "load"},
    "grafana-secret": {"grafana"},
}
"""Who may read which secret."""

COLLECTOR = load("otel-collector/config.yaml")
COLLECTOR_DEFAULTS = defaults((ROOT / "otel-collector/config.yaml").read_text())
PROMETHEUS = load("deploy/prometheus/prometheus.yml")
JAEGER = load("deploy/jaeger/jaeger.yaml")
ALERTMANAGER = load("deploy/alertmanager/alertmanager.yml")
DATASOURCES: list[dict[str, Any]] = load("deploy/grafana/provisioning/datasources/datasources.yaml")["datasources"]
WORKERS = ("worker-1", "worker-2", "worker-3", "worker-n")

needs_compose = pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
needs_amtool = pytest.mark.skipif(not shutil.which("amtool"), reason="amtool is not installed")


def run(*command: str, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# docker-compose.yml by itself


@needs_compose
@pytest.mark.parametrize("profiles", [[], ["load"], ["load", "fault", "scale"]])
def test_docker_compose_takes_it(tmp_path: Path, profiles: list[str]) -> None:
    """Debian's, which knows the fewest keys; without anything in .env."""
    (tmp_path / "empty").touch()
    options = [word for profile in profiles for word in ("--profile", profile)]
    run("docker-compose", "--env-file", str(tmp_path / "empty"), *options, "config", "-q")


@needs_compose
def test_docker_compose_takes_jaegers_file_too(tmp_path: Path) -> None:
    """docker-compose accepts Jaeger's file together with the main file."""
    (tmp_path / "empty").touch()
    files = ("--file", "docker-compose.yml", "--file", "docker-compose.jaeger.yml")
    run("docker-compose", "--env-file", str(tmp_path / "empty"), *files, "config", "-q")


def test_nothing_in_it_is_newer_than_docker_compose_1() -> None:
    """The keys that Debian's rejects; known here where it is not installed, too."""
    text = yaml.safe_dump(COMPOSE)
    assert "name" not in COMPOSE
    assert "configs" not in COMPOSE
    assert not re.search(r"\b(start_interval|required):", text)


@pytest.mark.parametrize("service", SERVICES)
def test_what_it_mounts_is_there(service: str) -> None:
    """Docker would make an empty folder of a file that is missing."""
    for source in mounts(service).values():
        assert (ROOT / source).exists(), source


def test_named_volumes_are_declared_and_used() -> None:
    used = {name for service in SERVICES for name in volumes(service)}
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned(service: str) -> None:
    """A version, or the image that is built here, by one service, and never pulled."""
    definition = SERVICES[service]
    image, _, tag = definition["image"].partition(":")
    if definition["image"] == BUILT:
        assert definition["pull_policy"] == ("build" if service == "secrets" else "never")
        assert ("build" in definition) == (service == "secrets")
    else:
        assert re.match(r"v?\d", tag), image


@pytest.mark.parametrize("service", SERVICES)
def test_no_port_is_open_to_the_world(service: str) -> None:
    for port in SERVICES[service].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port), port


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_is_root(service: str) -> None:
    """No service runs as root or can become root."""
    definition = SERVICES[service]
    if service not in RUN_AS_ROOT:
        assert definition["user"].split(":")[0] not in ("", "0", "root")
    assert definition["cap_drop"] == ["ALL"]
    assert definition["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_checked(service: str) -> None:
    assert ("healthcheck" in SERVICES[service]) != (service in WITHOUT_HEALTHCHECK)


@pytest.mark.parametrize("service", SERVICES)
def test_whom_it_waits_for_can_say_when(service: str) -> None:
    """A condition of health is for services with a healthcheck, one of success for those that end."""
    for other, how in SERVICES[service].get("depends_on", {}).items():
        assert how["condition"] in ("service_healthy", "service_completed_successfully")
        assert ("healthcheck" in SERVICES[other]) == (how["condition"] == "service_healthy")


def test_nothing_starts_on_a_clone_that_cannot_be_read() -> None:
    """Whatever mounts a file of ours waits for ``secrets``, which looks at them first."""
    assert all((ROOT / folder).is_dir() for folder in readable.FOLDERS)
    assert set(mounts("secrets")) == {f"/clone/{folder}" for folder in readable.FOLDERS}
    for service in SERVICES:
        for source in mounts(service).values():
            assert Path(source).parts[0] in readable.FOLDERS
            assert service == "secrets" or "secrets" in SERVICES[service]["depends_on"]


def test_the_service_does_not_need_its_telemetry() -> None:
    """The API and the workers start, and go on, without collector, Tempo and Prometheus."""
    for service in ("api", *WORKERS):
        assert set(SERVICES[service]["depends_on"]) == {"secrets", "valkey"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_stop_is_heard(service: str) -> None:
    """Programs of ours have an init above them.  Workers have time to end their tasks, and the collector for its queue."""
    definition = SERVICES[service]
    assert definition.get("init", False) == (definition["image"] == BUILT)
    assert ("stop_grace_period" in definition) == (service in (*WORKERS, "otel-collector"))


def test_health_is_asked_for_without_a_shell() -> None:
    """Prometheus's health check needs no shell, because its image may have none."""
    assert SERVICES["prometheus"]["healthcheck"]["test"][:3] == ["CMD", "promtool", "check"]


def test_the_image_can_be_read_by_its_user() -> None:
    """Whatever the umask was under which the repository was cloned."""
    assert "RUN chmod -R a+rX /app" in DOCKERFILE.split("USER ")[0]


def test_the_server_forks_for_no_snapshots() -> None:
    """It has an append-only file."""
    lines = (ROOT / "deploy/valkey/valkey.conf").read_text().splitlines()
    assert 'save ""' in lines
    assert "appendonly yes" in lines


# Secrets


@pytest.mark.parametrize("volume", READS)
def test_a_secret_is_read_by_those_who_need_it(volume: str) -> None:
    """Only these services mount a secret, only ``secrets`` writes it, and the others wait until it is written."""
    modes = {service: volumes(service)[volume] for service in SERVICES if volume in volumes(service)}
    assert modes == {"secrets": "rw"} | dict.fromkeys(READS[volume], "ro")
    for service in READS[volume]:
        waits_for = SERVICES[service]["depends_on"]
        assert "secrets" in waits_for or "api" in waits_for


def test_no_secret_has_a_default() -> None:
    """Only ``secrets`` is handed the variables, and empty ones are made up at random."""
    text = (ROOT / "docker-compose.yml").read_text()
    secret = {name: value for name, value in defaults(text).items() if re.search("PASSWORD|KEY|TOKEN", name)}
    assert secret == {"VALKEY_PASSWORD": "", "REPORTS_SIGNING_KEY": "", "GRAFANA_ADMIN_PASSWORD": ""}
    assert set(secret) == set(SERVICES["secrets"]["environment"])


def test_grafana_asks_for_a_password() -> None:
    """Anonymous access is off, unless .env turns it on."""
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "${GRAFANA_ANONYMOUS:-false}"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/secrets/grafana/admin-password"


def test_grafana_runs_what_is_in_its_image() -> None:
    """It fetches no plugins, neither new ones nor others in place of its own: our data sources are among those."""
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    assert environment["GF_PLUGINS_PREINSTALL_AUTO_UPDATE"] == "false"
    assert environment["GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES"] == "false"


# The image


DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()


def test_its_base_is_pinned_and_its_user_is_nobody_special() -> None:
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:3.13-slim-trixie"}
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1] == SERVICES["api"]["user"]


def test_what_it_copies_is_there_and_not_ignored() -> None:
    """The build context holds these files, and no others (.env, .git)."""
    copied = [
        source for line in re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE) for source in line.split()[:-1]
    ]
    ignore = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
    kept = [line[1:] for line in ignore if line.startswith("!")]
    assert "*" in ignore
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(source == each or source.startswith(f"{each}/") for each in kept), source
    for each in kept:
        assert any(source == each or source.startswith(f"{each}/") for source in copied), f"{each} is not copied"


def test_what_its_containers_run_exists() -> None:
    """Every module that a command names; that they do what they should is seen in other tests."""
    built = [definition.get("command", []) for definition in SERVICES.values() if definition["image"] == BUILT]
    (default,) = re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)
    checks = [
        each["healthcheck"]["test"] for each in SERVICES.values() if each["image"] == BUILT and "healthcheck" in each
    ]
    words: list[str] = [
        word for command in [*built, *checks, json.loads(default)] for part in command for word in part.split()
    ]
    names = [word.partition("=")[2] if word.startswith("--") else word for word in words]
    modules = {name.partition(":")[0] for name in names if re.match(r"(examples|deploy|taskctx)[.:]", name)}
    assert len(modules) == 9
    for module in modules:
        assert find_spec(module), module


# Jaeger in place of Tempo


OVERRIDE: dict[str, dict[str, Any]] = load("docker-compose.jaeger.yml")["services"]


def test_jaeger_takes_tempos_place() -> None:
    """Tempo is not started, the collector sends to Jaeger, and its files and data are where its configuration says."""
    assert OVERRIDE["tempo"] == {"profiles": ["tempo"]}
    grpc = JAEGER["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].rpartition(":")[2]
    assert OVERRIDE["otel-collector"]["environment"] == {"TEMPO_OTLP_ENDPOINT": f"jaeger:{grpc}"}
    jaeger = OVERRIDE["jaeger"]
    assert {name: jaeger[name] for name in COMPOSE["x-restart"]} == COMPOSE["x-restart"]
    assert re.fullmatch(r"127\.0\.0\.1:\$\{JAEGER_PORT:-\d+\}:\d+", jaeger["ports"][0])
    assert jaeger["depends_on"] == SERVICES["prometheus"]["depends_on"]
    (storage,) = JAEGER["extensions"]["jaeger_storage"]["backends"].values()
    assert all(folder.startswith("/var/jaeger/") for folder in storage["badger"]["directories"].values())
    assert "/var/jaeger" in DOCKERFILE
    for service in ("jaeger", "grafana"):
        for volume in OVERRIDE[service]["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists(), source


def test_grafana_has_jaeger_where_it_has_tempo() -> None:
    """The same data sources otherwise; exemplars lead to Jaeger, and the boards are those for it."""
    provisioned = load("deploy/jaeger/datasources.yaml")["datasources"]
    others = [each["name"] for each in provisioned if each["type"] != "jaeger"]
    assert others == [each["name"] for each in DATASOURCES if each["type"] != "tempo"]
    (jaeger,) = (each for each in provisioned if each["type"] == "jaeger")
    assert jaeger["url"] == f"http://jaeger:{OVERRIDE['jaeger']['ports'][0].rpartition(':')[2]}"
    (exemplars,) = provisioned[0]["jsonData"]["exemplarTraceIdDestinations"]
    assert exemplars == {"name": "trace_id", "datasourceUid": jaeger["uid"]}
    assert mounts("grafana")["/etc/taskctx/dashboards"] == "./dashboards/grafana"
    assert "./dashboards/grafana-jaeger:/etc/taskctx/dashboards:ro" in OVERRIDE["grafana"]["volumes"]


# Who talks to whom


def host_of(url: str) -> str:
    return urlsplit(url).netloc


def exists(address: str, port: int) -> None:
    """``service:port`` names a service, and that port."""
    host, _, found = address.rpartition(":")
    assert host in SERVICES, host
    assert int(found) == port


def test_spans_reach_the_collector() -> None:
    """And leave it for services and ports that exist: the defaults of its configuration are this stack's names."""
    grpc = COLLECTOR_DEFAULTS["COLLECTOR_OTLP_GRPC_ADDRESS"].rpartition(":")[2]
    for service in ("api", *WORKERS):
        exists(host_of(SERVICES[service]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]), int(grpc))
    tempo = load("deploy/tempo/tempo.yaml")
    receiver = tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    exists(COLLECTOR_DEFAULTS["TEMPO_OTLP_ENDPOINT"], int(receiver.rpartition(":")[2]))
    exists(host_of(COLLECTOR_DEFAULTS["PROMETHEUS_OTLP_ENDPOINT"]), 9090)
    assert urlsplit(COLLECTOR_DEFAULTS["PROMETHEUS_OTLP_ENDPOINT"]).path == "/api/v1/otlp"
    assert "--web.enable-otlp-receiver" in SERVICES["prometheus"]["command"]
    assert source_of("otel-collector", option("otel-collector", "config")) == ROOT / "otel-collector/config.yaml"


def test_the_collectors_environment_is_its_default() -> None:
    """Compose sets none of its variables: the file that runs here is the file that was checked."""
    assert "environment" not in SERVICES["otel-collector"]


def test_prometheus_scrapes_services_that_exist() -> None:
    """At the ports at which they serve metrics."""
    ports = {
        "api": 8000,
        "otel-collector": int(COLLECTOR_DEFAULTS["COLLECTOR_METRICS_PORT"]),
        "prometheus": 9090,
        "alertmanager": 9093,
        "tempo": load("deploy/tempo/tempo.yaml")["server"]["http_listen_port"],
        "jaeger": JAEGER["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"]["port"],
    } | {worker: int(option(worker, "metrics-port")) for worker in WORKERS}
    scraped: set[str] = set()
    for job in PROMETHEUS["scrape_configs"]:
        for target in (target for static in job.get("static_configs", []) for target in static["targets"]):
            host = target.rpartition(":")[0]
            exists(target, ports[host])
            scraped.add(host)
        for found in job.get("dns_sd_configs", []):
            (name,) = found["names"]
            assert found["port"] == ports[name]
            scraped.add(name)
    assert scraped == set(ports)


def test_metrics_are_as_the_rules_want_them() -> None:
    """Exemplars are stored, no ``_created`` series is made, and the committed rules are loaded."""
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]
    for service in ("api", *WORKERS):
        assert SERVICES[service]["environment"]["PROMETHEUS_DISABLE_CREATED_SERIES"] == "true"
    (pattern,) = PROMETHEUS["rule_files"]
    folder, _, files = pattern.rpartition("/")
    found = {path.name for path in source_of("prometheus", folder).glob(files)}
    assert found == {"taskctx-alerts.yaml", "taskctx-rules.yaml"}
    assert source_of("prometheus", option("prometheus", r"config\.file")).name == "prometheus.yml"


def test_alerts_reach_a_receiver_that_calls_nobody() -> None:
    (targets,) = (each["static_configs"][0]["targets"] for each in PROMETHEUS["alerting"]["alertmanagers"])
    for target in targets:
        exists(target, 9093)
    assert source_of("alertmanager", option("alertmanager", r"config\.file")).name == "alertmanager.yml"
    (webhook,) = (hook for each in ALERTMANAGER["receivers"] for hook in each["webhook_configs"])
    exists(host_of(webhook["url"]), alert_log.PORT)
    assert webhook["send_resolved"]


def test_critical_mutes_warning_on_the_same_docket_only() -> None:
    (rule,) = ALERTMANAGER["inhibit_rules"]
    assert rule["equal"] == ["docket_name"]
    assert rule["source_matchers"] == ['severity="critical"', 'docket_name!=""']
    assert rule["target_matchers"] == ['severity="warning"', 'docket_name!=""']


def test_healthchecks_ask_their_own_port() -> None:
    """The port in a worker's healthcheck is the one it was told to answer on, the API's is the one it listens on."""
    for worker in WORKERS:
        assert SERVICES[worker]["healthcheck"]["test"][-1].endswith(f":{option(worker, 'healthcheck-port')}")
    assert '"--port", "8000"' in DOCKERFILE
    assert "127.0.0.1:8000/health" in SERVICES["api"]["healthcheck"]["test"][-1]


@needs_promtool
def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    """With the rules where they are here instead of where they are in the container."""
    (pattern,) = PROMETHEUS["rule_files"]
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    here = str(source_of("prometheus", pattern.rpartition("/")[0]) / "*.yaml")
    (tmp_path / "prometheus.yml").write_text(text.replace(pattern, here))
    run("promtool", "check", "config", "--lint=all", "--lint-fatal", str(tmp_path / "prometheus.yml"))


@needs_amtool
def test_amtool_takes_the_configuration() -> None:
    run("amtool", "check-config", "deploy/alertmanager/alertmanager.yml")


# Grafana


def datasource(uid: str) -> dict[str, Any]:
    (found,) = (each for each in DATASOURCES if each["uid"] == uid)
    return found


def test_datasources_are_services_that_exist() -> None:
    ports = {
        "prometheus": 9090,
        "alertmanager": 9093,
        "tempo": load("deploy/tempo/tempo.yaml")["server"]["http_listen_port"],
    }
    for each in DATASOURCES:
        address = host_of(each["url"])
        exists(address, ports[address.rpartition(":")[0]])
    assert [each["name"] for each in DATASOURCES if each.get("isDefault")] == ["Prometheus"]


@pytest.mark.parametrize("path", sorted((ROOT / "dashboards/grafana").glob("*.json")), ids=lambda path: path.stem)
def test_a_dashboards_variables_find_one_data_source_each(path: Path) -> None:
    """There is exactly one data source for each variable, and panels name no other."""
    board = json.loads(path.read_text())
    variables = {each["name"]: each["query"] for each in board["templating"]["list"] if each["type"] == "datasource"}
    assert set(variables.values()) == {"prometheus", "tempo"}
    for kind in variables.values():
        assert len([each for each in DATASOURCES if each["type"] == kind]) == 1
    uids = set(re.findall(r'"uid": "(\$\{\w+\})"', path.read_text()))
    assert uids <= {f"${{{name}}}" for name in variables}


def test_the_dashboards_are_provisioned() -> None:
    """All four, from where they are mounted; the Overview is the first thing one sees."""
    (provider,) = load("deploy/grafana/provisioning/dashboards/dashboards.yaml")["providers"]
    boards = source_of("grafana", provider["options"]["path"])
    assert len(list(boards.glob("*.json"))) == 4
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert json.loads(source_of("grafana", home).read_text())["uid"] == "taskctx-overview"
    assert source_of("grafana", "/etc/grafana/provisioning").is_dir()


def test_exemplars_lead_to_traces_and_spans_to_their_metrics() -> None:
    """By labels and metrics that exist: what the collector's span_metrics makes."""
    (exemplars,) = datasource("taskctx-prometheus")["jsonData"]["exemplarTraceIdDestinations"]
    assert (exemplars["name"], datasource(exemplars["datasourceUid"])["type"]) == ("trace_id", "tempo")

    to_metrics = datasource("taskctx-tempo")["jsonData"]["tracesToMetrics"]
    assert datasource(to_metrics["datasourceUid"])["type"] == "prometheus"
    span_metrics = COLLECTOR["connectors"]["span_metrics"]
    dimensions = {each["name"] for each in span_metrics["dimensions"]}
    for tag in to_metrics["tags"]:
        assert tag["key"] in dimensions
        assert tag["value"] == tag["key"].replace(".", "_")
    namespace = span_metrics["namespace"].replace(".", "_")
    for query in to_metrics["queries"]:
        names = set(re.findall(r"\b(\w+)\{\$\$__tags\}", query["query"]))
        assert names <= {f"{namespace}_calls_total", f"{namespace}_duration_seconds_bucket"}
        assert names
    assert span_metrics["histogram"]["unit"] == "s"


def test_the_scrape_interval_is_the_one_grafana_is_told() -> None:
    """It makes ``$__rate_interval`` of it."""
    assert datasource("taskctx-prometheus")["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]
