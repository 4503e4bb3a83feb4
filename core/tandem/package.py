"""A model package: the directory that a data scientist writes, and the wheel that it becomes in a bundle.

Its ``pyproject.toml`` says where the model is::

    [tool.tandem]
    model = "athlete:model"
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from tandem.errors import DefinitionError
from tandem.importing import import_model
from tandem.model import Model


@dataclass(frozen=True)
class ModelPackage:
    """A model package on disk; made by :meth:`read`.

    Attributes:
        path: Its directory.
        entry_point: ``module:attribute`` of the :class:`~tandem.model.Model`.
        settings: All of ``[tool.tandem]``.
    """

    path: Path
    entry_point: str
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | str) -> ModelPackage:
        """Read the package's ``pyproject.toml``.

        Raises:
            DefinitionError: if there is none, or it names no model.
        """
        file = Path(path) / "pyproject.toml"
        try:
            settings = tomllib.loads(file.read_text()).get("tool", {}).get("tandem", {})
        except FileNotFoundError:
            raise DefinitionError(f"{path} is not a model package: it has no pyproject.toml") from None
        except tomllib.TOMLDecodeError as error:
            raise DefinitionError(f"{file}: {error}") from None
        entry_point = settings.get("model")
        if not isinstance(entry_point, str) or not re.fullmatch(r"[\w.]+:\w+", entry_point):
            raise DefinitionError(f'{file}: [tool.tandem] must say where the model is, as model = "package:model"')
        return cls(Path(path), entry_point, settings)

    def load(self) -> Model:
        """Import the model from the directory.

        Raises:
            DefinitionError: if it cannot be imported, or is not a :class:`~tandem.model.Model`.
        """
        source = self.path / "src"
        return import_model(source if source.is_dir() else self.path, self.entry_point)

    def build_wheel(self, directory: Path) -> Path:
        """Build the package's wheel with the build backend that it names, without network.

        Raises:
            DefinitionError: if the build fails or the wheel is not pure Python.
        """
        try:
            from build import BuildBackendException, BuildException, ProjectBuilder
            from pyproject_hooks import quiet_subprocess_runner
        except ModuleNotFoundError as error:
            raise DefinitionError(f"building a wheel needs {error.name}; install tandem-core[build]") from None

        try:
            wheel = Path(ProjectBuilder(self.path, runner=quiet_subprocess_runner).build("wheel", directory))
        except (BuildException, BuildBackendException) as error:
            raise DefinitionError(f"{self.path} cannot be built into a wheel: {error}") from error
        if not wheel.name.endswith("-none-any.whl"):
            raise DefinitionError(
                f"{wheel.name}: a model package must be pure Python, since the wheel is imported as it is"
            )
        return wheel


def wheel_requirements(wheel: Path) -> list[str]:
    """Requirements of a wheel as it states them (PEP 508), without those of its extras."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = message_from_bytes(archive.read(name))
    python = [f"python{versions}" for versions in headers.get_all("Requires-Python", [])]
    return python + [stated for stated in headers.get_all("Requires-Dist", []) if "extra ==" not in stated]
