from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tandem import DefinitionError
from tandem.package import ModelPackage, wheel_requirements


def test_model_is_imported_and_leaves_nothing_behind(make_package: Any) -> None:
    path, before = make_package(), list(sys.path)
    assert ModelPackage.read(path).load().name == "rides"
    assert sys.path == before
    assert "rides" not in sys.modules


@pytest.mark.parametrize(
    ("pyproject", "reason"),
    [
        ("", r"\[tool.tandem\] must say where the model is"),
        ("[tool.tandem]\nmodel = 'rides'", "must say where"),
        ("[tool.tandem]\nmodel = 5", "must say where"),
        ("[tool.tandem", "pyproject.toml: "),
    ],
)
def test_package_that_names_no_model(make_package: Any, pyproject: str, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        ModelPackage.read(make_package(pyproject=pyproject))


def test_no_package(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="is not a model package"):
        ModelPackage.read(tmp_path)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("model = 5", "is a int, not a tandem.Model"),
        ("", "is missing, not a tandem.Model"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f(:", "SyntaxError"),
        ("from tandem import Field\nField('float')", "DefinitionError: unknown type 'float'"),
    ],
)
def test_package_that_cannot_be_imported(make_package: Any, source: str, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        ModelPackage.read(make_package(source=source)).load()


def test_requirements_of_a_wheel(tmp_path: Path) -> None:
    headers = ["Requires-Python: >=3.11", "Requires-Dist: numpy>=2", "Requires-Dist: pytest; extra == 'test'"]
    with ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("x-1.dist-info/METADATA", "\n".join([*headers, "", "Requires-Dist: text"]))
    assert wheel_requirements(tmp_path / "x.whl") == ["python>=3.11", "numpy>=2"]
