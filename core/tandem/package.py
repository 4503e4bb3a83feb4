"""A model package: the directory that a data scientist writes, and the wheel that it becomes in a bundle.

Its ``pyproject.toml`` says where the model is::

    [tool.tandem]
    model = "athlete:model"
"""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import tempfile
import threading
import tomllib
import weakref
import zlib
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from tandem.archives import unpack
from tandem.errors import DefinitionError
from tandem.model import Model

MAX_UNPACKED_BYTES = 256 * 2**20
"""Most bytes that the code of a bundle may have on disk."""

_importing = threading.Lock()


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
            raise DefinitionError(f"{path} is no model package: it has no pyproject.toml") from None
        except tomllib.TOMLDecodeError as error:
            raise DefinitionError(f"{file}: {error}") from None
        entry_point = settings.get("model")
        if not isinstance(entry_point, str) or not re.fullmatch(r"[\w.]+:\w+", entry_point):
            raise DefinitionError(f'{file}: [tool.tandem] must say where the model is, as model = "package:model"')
        return cls(Path(path), entry_point, settings)

    def load(self) -> Model:
        """Import the model from the directory.

        Raises:
            DefinitionError: if it cannot be imported, or is no :class:`~tandem.model.Model`.
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


def import_model(location: Path, entry_point: str) -> Model:
    """Import a model from a directory or a wheel, apart from any other version that is loaded already.

    Two versions of one package can so live in one process. A package must import what it needs at its top: an import
    inside a function would meet whichever version came last.

    Args:
        location: Directory to import from, or a pure wheel, which Python imports as it is.
        entry_point: ``module:attribute``.

    Raises:
        DefinitionError: if that fails, or what is found is no :class:`~tandem.model.Model`.
    """
    module_name, _, attribute = entry_point.partition(":")
    top = module_name.partition(".")[0]
    with _importing:
        earlier_modules = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == top}
        sys.path.insert(0, str(location))
        importlib.invalidate_caches()
        try:
            model = getattr(importlib.import_module(module_name), attribute, None)
        except Exception as error:
            raise DefinitionError(f"{entry_point} cannot be imported: {type(error).__name__}: {error}") from error
        finally:
            sys.path.remove(str(location))
            for name in list(sys.modules):
                if name.partition(".")[0] == top:
                    del sys.modules[name]
            sys.modules.update(earlier_modules)
    if not isinstance(model, Model):
        raise DefinitionError(
            f"{entry_point} is {'missing' if model is None else f'a {type(model).__name__}'}, not a tandem.Model"
        )
    return model


def import_wheel(name: str, content: bytes, entry_point: str) -> Model:
    """Import a model from a wheel in memory: it is unpacked where nobody else can change it, and imported from there.

    Args:
        name: Name of the wheel, for errors.
        content: The wheel; unpacked it has at most :data:`MAX_UNPACKED_BYTES`.
        entry_point: ``module:attribute``.

    Raises:
        DefinitionError: if it is damaged or too large, or as :func:`import_model`.
    """
    directory = Path(tempfile.mkdtemp(prefix="tandem-"))
    try:
        unpack(content, directory, MAX_UNPACKED_BYTES)
        model = import_model(directory, entry_point)
    except (ValueError, OSError, EOFError, NotImplementedError, BadZipFile, zlib.error) as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise DefinitionError(f"{name}: {error}") from error
    except DefinitionError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    # data files of a package are read when they are needed
    weakref.finalize(model, shutil.rmtree, directory, ignore_errors=True)
    return model


def wheel_requirements(wheel: Path) -> list[str]:
    """Requirements of a wheel as it states them (PEP 508), without those of its extras."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = message_from_bytes(archive.read(name))
    python = [f"python{versions}" for versions in headers.get_all("Requires-Python", [])]
    return python + [stated for stated in headers.get_all("Requires-Dist", []) if "extra ==" not in stated]
