"""The docs site: `make docs` makes it without the network, every page is in its menu, and no link leads nowhere."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from .blocks import PAGES, ROOT

GENERATED_BY = ROOT / "docs/make_site.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("make_site", GENERATED_BY)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(script: ModuleType) -> Path:
    folder: Path = script.build()
    return folder


def test_every_page_is_in_the_menu(script: ModuleType) -> None:
    project = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    menu = {ROOT / page for page in script.menu(project["nav"])}
    assert {page for page in PAGES if page not in menu} == set()


def test_what_a_newcomer_looks_for_is_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md", "docs/decisions/README.md"):
        assert f"({name})" in text


def test_search_knows_every_page(site: Path) -> None:
    items = json.loads((site / "search.json").read_text())["items"]
    locations = {item["location"].partition("#")[0] for item in items}
    pages = {page.relative_to(ROOT) for page in PAGES} - {Path("README.md")}
    expected = {
        str(page.with_name("index.html") if page.name == "README.md" else page.with_suffix(".html")) for page in pages
    }
    assert expected <= locations


def test_links_that_lead_nowhere_are_found(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#there">b</a><a href="b.html#gone">b</a><a href="c.html">c</a>'
        '<a href="#top">up</a><a href="https://example.com/">out</a><script src="https://example.com/x.js"></script>'
    )
    (tmp_path / "b.html").write_text('<h2 id="there">B</h2>')
    assert list(script.broken(tmp_path)) == [
        "a.html: https://example.com/x.js is loaded from another host",
        "a.html: b.html#gone leads to no heading",
        "a.html: c.html leads to no file",
    ]


def test_a_page_that_links_to_what_does_not_exist_is_named(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("[a](page.md), `[b](code.md)` and [c](folder/gone.md#x)")
    with pytest.raises(ValueError, match=r"page\.md: folder/gone\.md#x does not exist"):
        list(script.links(page))
