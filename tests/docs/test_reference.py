"""The reference pages say all there is to say: error codes, flags, metrics, commands."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tandem_predictor.config
import tandem_predictor.triton
import tandem_stream.settings
import tandem_stream.windows.settings
import tandem_transformer.app
import tandem_transformer.config
from tandem.errors import RequestError
from tandem.examples import TENSOR_DATATYPES

from .blocks import PAGES, ROOT

DOCS = ROOT / "docs"
SOURCES = [
    ROOT / "core/tandem",
    ROOT / "transformer/tandem_transformer",
    ROOT / "predictor/tandem_predictor",
    ROOT / "stream/tandem_stream",
]
CONFIGURATIONS = [
    ("transformer", tandem_transformer.config),
    ("predictor", tandem_predictor.config),
    ("stream", tandem_stream.settings),
    ("windows", tandem_stream.windows.settings),
]
ROW = re.compile(r"^\| `(\w+)` \| (\d+) \| ([A-Z_]+) \|", re.MULTILINE)
Code = tuple[str, int, str]


def subclasses(kind: type[RequestError]) -> Iterator[type[RequestError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


def codes_of(source: Path, kinds: dict[str, type[RequestError]]) -> Iterator[Code]:
    """Codes that are given where an error is raised, with the statuses of its class."""
    for node in ast.walk(ast.parse(source.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds):
            continue
        kind = kinds[node.func.id]
        values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        for value in values:
            texts = [part.value for part in ast.walk(value) if isinstance(part, ast.Constant)]
            yield from ((text, kind.status, kind.grpc_status) for text in texts if text not in ("missing", "stale"))


def test_every_error_code_is_listed_and_no_other() -> None:
    kinds = {kind.__name__: kind for kind in subclasses(RequestError)}
    assert "MethodNotAllowed" in kinds
    codes = {(kind.default_code, kind.status, kind.grpc_status) for kind in kinds.values()}
    for folder in SOURCES:
        for source in folder.rglob("*.py"):
            codes |= set(codes_of(source, kinds))
    text, _, _ = (DOCS / "errors.md").read_text().partition("## Codes of the local stack")
    listed = {(code, int(status), grpc) for code, status, grpc in ROW.findall(text)}
    assert listed == codes


def test_the_stacks_own_codes_are_listed() -> None:
    codes = re.findall(r'"(\w+_not_found)"', (ROOT / "cli/tandem_cli/local/envoy_config.py").read_text())
    assert codes
    _, _, chapter = (DOCS / "errors.md").read_text().partition("## Codes of the local stack")
    assert {code for code, _, _ in ROW.findall(chapter)} == set(codes)


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings if option.startswith("--")}


@pytest.mark.parametrize("name, module", CONFIGURATIONS)
def test_every_flag_is_described(name: str, module: object) -> None:
    text = (DOCS / f"{name}.md").read_text()
    parser = module.command_line()  # type: ignore[attr-defined]
    described = set(re.findall(r"^\| `(--\w+)` \|", text.partition("## Triton")[0], re.MULTILINE))
    assert described == flags(parser) - {"--help"}


@pytest.mark.parametrize("name, module", CONFIGURATIONS)
def test_defaults_of_flags_are_as_said(name: str, module: object) -> None:
    text = (DOCS / f"{name}.md").read_text().partition("## Triton")[0]
    defaults = dict(re.findall(r"^\| `--(\w+)` \| (\S+) \|", text, re.MULTILINE))
    parser = module.command_line()  # type: ignore[attr-defined]
    for flag, default in defaults.items():
        value = parser.get_default(flag)
        if default.isdecimal() or (isinstance(value, int | float) and not isinstance(value, bool)):
            assert float(default) == value, flag
        elif default.startswith("`") and isinstance(value, str | Path):
            assert default.strip("`") == str(value), flag


def test_datatypes_are_as_said() -> None:
    text = (DOCS / "wire-formats.md").read_text()
    for kind, datatypes in TENSOR_DATATYPES.items():
        (cell,) = re.findall(rf"^\| `{kind}` \| (.*) \|$", text, re.MULTILINE)
        assert tuple(re.findall(r"\b[A-Z]+\d*\b", re.sub(r"\(.*?\)|UTF-8", "", cell))) == datatypes


def test_every_flag_of_the_triton_builder_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tandem_predictor.triton.main(["--help"])
    flag_names = set(re.findall(r"--\w+", capsys.readouterr().out)) - {"--help"}
    text = (DOCS / "predictor.md").read_text()
    assert not {flag for flag in flag_names if f"`{flag}`" not in text}


def metrics_of(source: Path) -> set[str]:
    """Names of metrics as they are exported: counters end in ``_total``."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value.startswith("tandem_"):
            names.add(first.value + ("_total" if node.func.id == "Counter" else ""))
    return names


@pytest.mark.parametrize("name", ["transformer", "predictor", "stream"])
def test_every_metric_is_listed_and_no_other(name: str) -> None:
    modules = (ROOT / name / f"tandem_{name}").rglob("*metrics.py")
    exported = set[str]().union(*map(metrics_of, modules))
    listed = set(re.findall(r"^\| `(tandem_\w+)` \|", (DOCS / f"{name}.md").read_text(), re.MULTILINE))
    assert listed == exported != set()


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        text = re.sub(r"`[^`\n]*`", "code", page.read_text())
        for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text):
            if target.startswith("https://"):
                continue
            path = page.parent / target if target else page
            assert path.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(path), f"{page.name}: {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Names of a page's headings in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make (\w+)`|^make (\w+)", page.read_text(), re.MULTILINE):
            assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), f"{page.name}: {target}"
