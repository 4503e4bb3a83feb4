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
    signatures = set()
    for name, command in all_commands().items():
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        names = [f"{argument.metavar}" if argument.required else f"[{argument.metavar}]" for argument in arguments]
        signatures.add(" ".join([name, *names]))
    assert set(re.findall(r"^\| `([a-z].*?)` \|", PAGE.partition("## Options")[0], re.MULTILINE)) == signatures


def test_every_option_is_listed_and_no_other() -> None:
    options = {
        option
        for command in all_commands().values()
        for param in command.params
        if param.param_type_name == "option"
        for option in (*param.opts, *param.secondary_opts)
    } - {"--help"}
    rows = re.findall(r"^\| (`-.*?) \|", section("Options"), re.MULTILINE)
    assert {option for row in rows for option in re.findall(r"`(-[-\w]+)`", row)} == options


def test_every_exit_code_is_listed_and_no_other() -> None:
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert {int(code) for code in re.findall(r"^\| (\d) \|", section("Exit codes"), re.MULTILINE)} == codes


def fields_of(table: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


@pytest.mark.parametrize("shape", [part for part in PARTS if part is not DocumentPart], ids=lambda part: part.__name__)
def test_every_document_is_described(shape: type[DocumentPart]) -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(shape)} - {"apiVersion", "kind"}
    tables = [fields_of(part) for part in section("Documents").split("\n### ")[1:]]
    assert fields in tables
    assert len(tables) == len(PARTS) - 1


def test_the_kinds_of_documents_are_headings() -> None:
    kinds = {field.default for shape in PARTS for field in msgspec.structs.fields(shape) if field.encode_name == "kind"}
    assert kinds <= set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE))
