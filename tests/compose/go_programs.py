"""Programs of Go modules that stand in for images: built once, and kept outside of the repository."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.stack.built import INSTALL_GO, built, kept, run
from tests.stack.programs import program


@dataclass(frozen=True)
class Program:
    """What is built of a module.

    Attributes:
        module: with its version, as the Go module proxy has it.
        package: a folder of it; the program has that folder's name.
        placeholders: files that the module embeds and does not hold: pages for browsers.
    """

    module: str
    package: str
    placeholders: tuple[str, ...] = ()

    def built(self) -> Path:
        """The program; built now, where it has not been built here before."""
        name = Path(self.package).name
        return built(kept(name, self.module.rpartition("@")[2]), self._build) / name

    def _build(self, directory: Path) -> Path:
        go = program("go", install=INSTALL_GO)
        source = directory / "source"
        shutil.copytree(json.loads(run(directory, go, "mod", "download", "-json", self.module))["Dir"], source)
        for path in (source, *source.rglob("*")):
            path.chmod(0o755)
        for name in self.placeholders:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text("<p>The pages are in the image only.</p>\n")
        programs = directory / "programs"
        programs.mkdir()
        run(source, go, "build", "-trimpath", "-ldflags=-s -w", "-o", f"{programs}/", self.package, CGO_ENABLED="0")
        return programs
