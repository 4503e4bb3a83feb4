"""Import of a model from a directory or a wheel, apart from any other version that is loaded already."""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
import threading
import weakref
import zlib
from pathlib import Path
from zipfile import BadZipFile

from tandem.archives import unpack
from tandem.errors import DefinitionError
from tandem.model import Model

MAX_UNPACKED_BYTES = 256 * 2**20
"""Most bytes that the code of a bundle may have on disk."""

_importing = threading.Lock()


def import_model(location: Path, entry_point: str) -> Model:
    """Import a model from a directory or a wheel, apart from any other version that is loaded already.

    Two versions of one package can so live in one process. A package must import what it needs at its top: an import
    inside a function would meet whichever version came last.

    Args:
        location: Directory to import from, or a pure wheel, which Python imports as it is.
        entry_point: ``module:attribute``.

    Raises:
        DefinitionError: if that fails, or what is found is not a :class:`~tandem.model.Model`.
    """
    module_name, _, attribute = entry_point.partition(":")
    top = module_name.partition(".")[0]
    # sys.path and sys.modules are those of all threads
    with _importing:
        # else the import would find the modules of a version that is loaded already
        earlier_modules = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == top}
        sys.path.insert(0, str(location))
        # finders remember directory listings, and this directory may be new
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
    """Import a model from a wheel in memory, unpacked into a directory that only this user can write to.

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
