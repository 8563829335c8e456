"""The pages in docs/, and the code in them."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the page has one write: its name is the first line."""
        named = re.match(r"# (\S+\.\w+)\n", self.text)
        return named and named[1]


def read(page: str) -> str:
    return (DOCS / page).read_text()


def unfenced(page: str) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", read(page))


def blocks(page: str) -> list[Block]:
    return _blocks_of(read(page), page)


def _blocks_of(text: str, page: str = "") -> list[Block]:
    return [Block(page, language, code) for _, language, code in _BLOCK.findall(text)]


PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
BLOCKS = [block for page in PAGES for block in blocks(page)]


def write_files(page: str, folder: Path) -> None:
    """What the page has one write."""
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text)


def lines(page: str) -> list[str]:
    """The command lines of a page."""
    return lines_of(read(page))


def lines_of(text: str) -> list[str]:
    """The command lines of a text."""
    return [line for block in _blocks_of(text) if block.language == "sh" for line in block.text.splitlines() if line]


@dataclass(frozen=True)
class Command:
    """A printed command line, its variables apart."""

    words: list[str]
    environment: dict[str, str]


def command(page: str, part: str) -> Command:
    """The command line of a page that has these words in it."""
    (line,) = (line for line in lines(page) if part in line)
    words = shlex.split(line)
    assigned = [word for word in words if re.match(r"[A-Z_]+=", word)]
    return Command(words[len(assigned) :], dict(word.split("=", 1) for word in assigned))


def printed(page: str) -> list[str]:
    """What programs are said to print, in order."""
    return [block.text.strip() for block in blocks(page) if block.language == "text"]


PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""With which the printed commands find this environment's programs."""

_RULES = re.findall(r"^([a-z0-9][a-z0-9 -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)

MAKE_TARGETS = {target for rule in _RULES for target in rule.split()}
"""What ``make`` can be asked for."""
