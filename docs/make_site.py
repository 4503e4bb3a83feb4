"""Makes the docs site in ``build/site``: ``make docs``.

Pages lie where they lie in the repository, so a link works on the site as it works in a checkout: whatever a page of
the menu links to is copied with it, other pages with what these link to. Zensical makes the site, and each link of it
is followed in the end, to files and to anchors.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

ROOT: Final = Path(__file__).resolve().parents[1]
CONFIGURATION: Final = ROOT / "zensical.toml"

_CODE: Final = re.compile(r"^(`{3,}).*?^\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


def menu(entries: Iterable[Any]) -> Iterator[str]:
    """Pages of the menu, as paths in the repository."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            for value in entry.values():
                yield from menu([value] if isinstance(value, str) else value)


def links(page: Path) -> Iterator[Path]:
    """Files and folders that a page links to; a folder with a README stands for that.

    Raises:
        ValueError: if one does not exist.
    """
    for target in _LINK.findall(_CODE.sub("", page.read_text())):
        parts = urlsplit(target)
        if parts.scheme or not parts.path:
            continue
        path = Path(os.path.normpath(page.parent / unquote(parts.path)))
        if ROOT not in path.parents or not path.exists():
            raise ValueError(f"{page.relative_to(ROOT)}: {target} does not exist")
        yield path / "README.md" if (path / "README.md").is_file() else path


def reachable(pages: Iterable[Path]) -> set[Path]:
    """These pages and what can be reached from them."""
    files: set[Path] = set()
    pending = list(pages)
    while pending:
        path = pending.pop()
        if path not in files:
            files.add(path)
            if path.suffix == ".md":
                pending += links(path)
            elif path.is_dir():
                pending += (file for file in path.iterdir() if file.is_file())
    return files


def listing(folder: Path) -> str:
    """A page that lists the files of a folder."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file())
    return "\n".join([f"# {folder.relative_to(ROOT)}", "", *(f"- [`{name}`]({name})" for name in names)])


class _Page(HTMLParser):
    """Links and anchors of a page of the site."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if identifier := values.get("id") or values.get("name"):
            self.anchors.add(identifier)
        targets = [value for name in ("href", "src") if (value := values.get(name))]
        self.links += targets
        if tag != "a":
            self.loaded += [target for target in targets if urlsplit(target).netloc]


def broken(site: Path) -> Iterator[str]:
    """Links of a site that lead to no file or no anchor of it, or that load something from another host."""
    pages = {path: _Page(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    for path, page in sorted(pages.items()):
        yield from (f"{path.relative_to(site)}: {link} is loaded from another host" for link in page.loaded)
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else Path(os.path.normpath(path.parent / unquote(parts.path)))
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                yield f"{path.relative_to(site)}: {link} leads to no file"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{path.relative_to(site)}: {link} leads to no heading"


def build() -> Path:
    """Make the site.

    Returns:
        Its folder.

    Raises:
        ValueError: if a link leads nowhere.
        subprocess.CalledProcessError: if Zensical refuses a page.
    """
    project = tomllib.loads(CONFIGURATION.read_text())["project"]
    sources: Path = ROOT / project["docs_dir"]
    site: Path = ROOT / project["site_dir"]
    for folder in (sources, site):
        shutil.rmtree(folder, ignore_errors=True)
    for path in sorted(reachable(ROOT / page for page in menu(project["nav"]))):
        target = sources / path.relative_to(ROOT)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            (target / "README.md").write_text(listing(path))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", str(CONFIGURATION)]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "NO_COLOR": "1"})
    if lines := list(broken(site)):
        raise ValueError("\n".join(lines))
    return site


if __name__ == "__main__":
    try:
        print(build() / "index.html")
    except (ValueError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
