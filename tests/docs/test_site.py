"""The site is whole: it builds without a warning, every link leads somewhere, and no other server is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import taskctx
import taskctx.fastmcp
import taskctx.testing
from tests.conftest import BACKEND
from tests.docs.pages import DOCS, PAGES, ROOT, read

pytestmark = pytest.mark.skipif(BACKEND != "memory", reason="needs no backend: runs with TASKCTX_TEST_BACKEND=memory")

LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""Elements that have a browser load something, and the attribute that says what."""


class Page(HTMLParser):
    """What a page of the site links to, loads, and can be linked to by."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADS and LOADS[tag] in given:
            self.loads.append(given[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """Every page, built as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", str(DOCS), str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return {path: Page(path) for path in folder.rglob("*.html")}


def leads(site: dict[Path, Page], page: Page) -> Iterator[tuple[str, bool]]:
    """Each relative link of a page, and whether it leads somewhere."""
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
        target = site.get(path)
        yield link, (path.exists() if target is None else parts.fragment in target.ids | {""})


def test_every_link_leads_somewhere(site: dict[Path, Page]) -> None:
    """To a file of the site, and to a place in it."""
    found = [(page.path.name, *lead) for page in site.values() for lead in leads(site, page)]
    assert len(found) > 1000
    assert [(name, link) for name, link, there in found if not there] == []


def test_nobody_elses_server_is_asked(site: dict[Path, Page]) -> None:
    """Fonts, scripts and styles are the site's own."""
    loads = [load for page in site.values() for load in page.loads]
    assert loads
    assert [load for load in loads if urlsplit(load).netloc] == []
    (folder,) = {path.parent for path in site if path.name == "index.html" and (path.parent / "_static").is_dir()}
    styles = "".join(path.read_text() for path in (folder / "_static").rglob("*.css"))
    assert "@import" not in styles
    assert "url(http" not in styles


def test_every_public_name_is_in_the_reference(site: dict[Path, Page]) -> None:
    """Functions, classes and data alike, each with an anchor of its own."""
    (reference,) = (page for path, page in site.items() if path.name == "api.html")
    public = {f"taskctx.{name}" for name in taskctx.__all__}
    public |= {f"taskctx.fastmcp.{name}" for name in taskctx.fastmcp.__all__}
    public |= {f"taskctx.testing.{name}" for name in taskctx.testing.__all__}
    public |= {"taskctx.asgi.TaskContextMiddleware"}
    public |= {"taskctx.logs.TaskContextFilter", "taskctx.logs.add_task_context"}
    assert public - reference.ids == set()


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_nothing_that_leads_out_of_the_repository(page: str) -> None:
    """A relative link in a page is right where one reads it in the repository, too."""
    for line in read(page).splitlines():
        for target in (part.partition(")")[0] for part in line.split("](")[1:]):
            path = urlsplit(target).path
            if path and not urlsplit(target).netloc:
                assert ((DOCS / page).parent / path).exists(), target
