"""``taskctx dashboards``: the bundled dashboards, rules and alerts, for your own Grafana and Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from textwrap import indent
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

import taskctx

from ._problem import Problem, politely

DEFAULT_GRAFANA = "http://localhost:3000"
"""The Grafana address in the links of the bundled alerts."""

_UNFIT = re.compile(r"[\s\"\\{}?#@\ud800-\udfff]")
"""Characters that would break a string in YAML or JSON, a template of Prometheus, or the link; and those before which a
password would stand, which every alert would show."""

app: typer.Typer = typer.Typer(
    no_args_is_help=True, help="The Grafana dashboards and Prometheus rules that come with taskctx."
)


class Traces(StrEnum):
    """The trace backend, to which links to traces lead."""

    TEMPO = "tempo"
    JAEGER = "jaeger"


class Format(StrEnum):
    FILES = "files"
    KUBERNETES = "kubernetes"


@app.command("list")
@politely
def list_bundled() -> None:
    """Name what is bundled."""
    table = Table("file", "what it is", box=None, pad_edge=False)
    for file in _bundled():
        table.add_row(f"{_folder_of(file)}/{file.name}", _title(file))
    Console().print(table)


@app.command()
@politely
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if it is not there.", show_default=False)],
    output_format: Annotated[
        Format, typer.Option("--format", help="Plain files, or Kubernetes ConfigMaps and PrometheusRules.")
    ] = Format.FILES,
    grafana_url: Annotated[str, typer.Option(help="Your Grafana, for the links in alerts.")] = DEFAULT_GRAFANA,
    traces: Annotated[Traces, typer.Option(help="Where your traces are, for the links in panels.")] = Traces.TEMPO,
) -> None:
    """Write the dashboards and rules into a folder."""
    grafana = _checked(grafana_url).rstrip("/")
    for file in _bundled(traces):
        content = file.read_text().replace(DEFAULT_GRAFANA, grafana)
        path = folder / _folder_of(file) / file.name
        if output_format is Format.KUBERNETES:
            path = folder / f"{Path(file.name).stem}.yaml"
            content = _as_manifest(file, content)
        _write(path, content)
        typer.echo(path)


def _checked(url: str) -> str:
    """The URL, checked for use in a link.

    Raises:
        Problem: the URL is not an address of a web server.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and not _UNFIT.search(url):
            return url
    except ValueError:
        pass
    raise Problem(
        "--grafana-url is no address of a web server",
        f"One looks like {DEFAULT_GRAFANA}, with a path perhaps, and without user and query.",
    )


def _write(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    except OSError as error:
        typer.echo(f"cannot write {path}: {error.strerror}. Choose a folder that you may write to.", err=True)
        raise typer.Exit(2) from None


def _bundled(traces: Traces = Traces.TEMPO) -> Iterator[Traversable]:
    """The generated files: from the wheel, or in a checkout from the folder where they are generated."""
    package = files(taskctx)
    root = package / "_bundled"
    if not root.is_dir():
        root = package / ".." / "dashboards"
    boards = "grafana" if traces is Traces.TEMPO else f"grafana-{traces}"
    for folder, suffix in ((boards, ".json"), ("prometheus", ".yaml")):
        yield from sorted(
            (file for file in (root / folder).iterdir() if file.name.endswith(suffix)), key=lambda file: file.name
        )


def _folder_of(file: Traversable) -> str:
    return "grafana" if file.name.endswith(".json") else "prometheus"


def _title(file: Traversable) -> str:
    if file.name.endswith(".json"):
        board = json.loads(file.read_text())
        return f"{board['title']}: {board['description']}"
    return "alerting rules" if "alerts" in file.name else "recording rules, which the alerts and dashboards need"


def _as_manifest(file: Traversable, content: str) -> str:
    """A Kubernetes manifest for the Grafana sidecar (label ``grafana_dashboard``) or for the Prometheus operator."""
    name = Path(file.name).stem
    if file.name.endswith(".json"):
        return (
            f'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  labels:\n    grafana_dashboard: "1"\n'
            f"data:\n  {file.name}: |\n{indent(content, '    ')}"
        )
    return (
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
        f"metadata:\n  name: {name}\nspec:\n{indent(content, '  ')}"
    )
