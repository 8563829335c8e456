"""The pictures of docs/: of dashboards, and of the terminal."""

from tests.processes.support import ROOT

DOCS = ROOT / "docs" / "pictures"
