"""The page about the commands says all there is to say."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer.main
from typer.core import TyperGroup

from tandem_cli.rollout.commands.group import commands
from tandem_cli.rollout.output import documents, exit_codes
from tandem_cli.rollout.output.documents.base import DocumentPart

PAGE = (Path(__file__).parents[3] / "docs/rollout-cli.md").read_text()
MODULES = [
    importlib.import_module(f"{documents.__name__}.{info.name}") for info in pkgutil.iter_modules(documents.__path__)
]
PARTS = [
    entry
    for module in MODULES
    for entry in vars(module).values()
    if isinstance(entry, type) and issubclass(entry, DocumentPart) and entry.__module__ == module.__name__
]


def section(title: str) -> str:
    return PAGE.partition(f"# {title}\n")[2].partition("\n## ")[0]


def all_commands() -> dict[str, Any]:
    group = typer.main.get_command(commands)
    assert isinstance(group, TyperGroup)
    return group.commands


def test_every_command_is_listed_with_its_arguments_and_no_other() -> None:
    wanted = set()
    for name, command in all_commands().items():
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        said = [f"{each.metavar}" if each.required else f"[{each.metavar}]" for each in arguments]
        wanted.add(" ".join([name, *said]))
    assert set(re.findall(r"^\| `([a-z].*?)` \|", PAGE.partition("## Options")[0], re.MULTILINE)) == wanted


def test_every_option_is_listed_and_no_other() -> None:
    wanted = {
        option
        for command in all_commands().values()
        for each in command.params
        if each.param_type_name == "option"
        for option in (*each.opts, *each.secondary_opts)
    } - {"--help"}
    rows = re.findall(r"^\| (`-.*?) \|", section("Options"), re.MULTILINE)
    assert {option for row in rows for option in re.findall(r"`(-[-\w]+)`", row)} == wanted


def test_every_exit_code_is_listed_and_no_other() -> None:
    wanted = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert {int(code) for code in re.findall(r"^\| (\d) \|", section("Exit codes"), re.MULTILINE)} == wanted


def fields_of(table: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


@pytest.mark.parametrize("shape", [part for part in PARTS if part is not DocumentPart], ids=lambda part: part.__name__)
def test_every_document_is_described(shape: type[DocumentPart]) -> None:
    wanted = {each.encode_name for each in msgspec.structs.fields(shape)} - {"apiVersion", "kind"}
    tables = [fields_of(part) for part in section("Documents").split("\n### ")[1:]]
    assert wanted in tables
    assert len(tables) == len(PARTS) - 1


def test_the_kinds_of_documents_are_headings() -> None:
    kinds = {each.default for shape in PARTS for each in msgspec.structs.fields(shape) if each.encode_name == "kind"}
    assert kinds <= set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE))
