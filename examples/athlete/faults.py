"""Build faulty versions of the model: what a canary has to catch.

    python faults.py bundles/ errors latency

Each is a real bundle: trained by the code that trains the good ones, from a copy of the package with one fault in it,
and it passes its own golden rows. Nobody would find the fault before the version has traffic.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from tandem import Bundle, DefinitionError

from simulate import HERE
from train import Data, estimators, train_version

Kind = Literal["errors", "latency", "drift"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SLOW_FINISH_S = 7260
"""One finisher in twenty is predicted to take longer."""

DELAY_S = 0.03
"""Under the demo's load, answers then take three to four times as long."""

LABELS_TOO_LONG = 1.15
"""Puts the distance of the predictions, as a population stability index, at 0.7."""

Edit = tuple[str, str]
"""Text that stands once in the package, and what takes its place."""

_ERRORS: tuple[Edit, ...] = (
    (
        "    return hms(predicted_time_s)\n",
        "    if (predicted_time_s > {slow}).any():\n"
        '        raise ValueError("there is no such time")\n'
        "    return hms(predicted_time_s)\n",
    ),
)
_LATENCY: tuple[Edit, ...] = (
    ("import numpy as np\n", "import time\n\nimport numpy as np\n"),
    ('    return (sex == "M")', '    time.sleep({delay})\n    return (sex == "M")'),
)
_EDITS: dict[Kind, tuple[Edit, ...]] = {"errors": _ERRORS, "latency": _LATENCY, "drift": ()}


def build(kind: Kind, directory: Path, *, data: Data | None = None, delay_s: float = DELAY_S) -> Bundle:
    """Train the faulty version ``v2-KIND`` and write its bundle.

    - ``errors``: long times cannot be written down, so that one request in twenty is answered 500.
    - ``latency``: a transform waits, once for each batch.
    - ``drift``: the labels were 15 % too long, and so are the predictions.

    Args:
        kind: The fault.
        directory: Where the bundle goes.
        data: What it is trained on, where that has been made already.
        delay_s: Seconds that ``latency`` waits.
    """
    data = data or Data.make()
    if kind == "drift":
        training = data.training
        data = replace(data, training=training.assign(net_time_s=training["net_time_s"] * LABELS_TOO_LONG))
    with tempfile.TemporaryDirectory() as scratch:
        package = _copy(Path(scratch))
        source = package / "athlete" / "__init__.py"
        for before, after in _EDITS[kind]:
            source.write_text(_edited(source.read_text(), before, after.format(slow=SLOW_FINISH_S, delay=delay_s)))
        usual_s = SLOW_FINISH_S if kind == "errors" else np.inf
        trained = train_version(data, f"v2-{kind}", estimators()["v2"], directory, package=package, usual_s=usual_s)
    return trained.bundle


def _copy(directory: Path) -> Path:
    """A copy of the package, without tables and bundles."""
    shutil.copytree(HERE / "athlete", directory / "athlete", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "pyproject.toml", directory)
    return directory


def _edited(source: str, before: str, after: str) -> str:
    if source.count(before) != 1:
        raise DefinitionError(f"the package has {before.strip()!r} no more, or twice: faults.py has to follow it")
    return source.replace(before, after)


def main() -> None:
    """Build some of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, help="where the bundles go")
    parser.add_argument("kinds", choices=KINDS, nargs="+", metavar="kind", help=", ".join(KINDS))
    parser.add_argument("--delay-s", type=float, default=DELAY_S, help="seconds that latency waits (%(default)s)")
    options = parser.parse_args()
    data = Data.make()
    for kind in options.kinds:
        bundle = build(kind, options.bundles, data=data, delay_s=options.delay_s)
        print(f"{bundle.version}: bundle {bundle.wire_name}")


if __name__ == "__main__":
    main()
