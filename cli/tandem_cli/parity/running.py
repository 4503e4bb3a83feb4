"""All modes over the same rows, each compared with the pipeline itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from tandem import Bundle, EmbeddedModel
from tandem.clock import utc_now
from tandem.dtypes import Column
from tandem.inputs import Inputs
from tandem.parity import (
    Parity,
    Reference,
    Results,
    Sample,
    compare,
    golden_samples,
    random_sample,
    split_rows,
)
from tandem_cli.parity.library import Run
from tandem_cli.parity.modes import Mode
from tandem_cli.parity.session import Session

_ROWS_PER_SAMPLE: Final = 10_000
"""Random rows that are predicted at once; memory does not grow with all of them."""


@dataclass
class Report:
    """What came of the modes.

    Attributes:
        bundle: The version.
        seed: Of the random rows.
        rows: How many rows were predicted, by kind: ``golden`` and ``random``.
        parities: Of each mode that ran, by its name.
        skipped: Why other modes did not, by name.
    """

    bundle: Bundle
    seed: int
    rows: Counter[str] = field(default_factory=Counter)
    parities: dict[str, Parity] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """Whether no mode differs."""
        return all(parity.is_equal for parity in self.parities.values())


def run_parity(
    bundle: Bundle,
    modes: Sequence[Mode],
    *,
    rows: int,
    seed: int = 0,
    golden: bool = True,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Predict golden and random rows in each mode, and compare.

    Args:
        bundle: The version.
        modes: The modes.
        rows: Random rows.
        seed: Of these.
        golden: Whether golden rows are predicted too.
        progress: Called with what is done next, for people.

    Raises:
        BundleError: if the golden rows are not predicted as in training.
        StackError: if a pair cannot be started.
    """
    reference = Reference(EmbeddedModel.open(bundle.path) if golden else EmbeddedModel(bundle))
    report = Report(bundle, seed)
    with Session(bundle) as session:
        runs = _open_all(session, modes, report, progress)
        for sample in _samples(bundle, rows, seed, golden=golden):
            session.use(sample)
            expected = reference.compute(sample.inputs)
            requests = split_rows(len(sample), expected.errors, seed=seed)
            for name, run in runs.items():
                progress(f"{name}: {sample.kind} rows, {report.rows[sample.kind]:,} before")
                results = run(sample, requests)
                timely = _as_of(reference, sample.inputs, expected, results.as_of)
                compare(bundle, sample, timely, results, report.parities[name])
            report.rows[sample.kind] += len(sample)
    return report


def _open_all(
    session: Session, modes: Sequence[Mode], report: Report, progress: Callable[[str], None]
) -> dict[str, Run]:
    """The modes that can run, by name; why others cannot is kept in the report."""
    runs = {}
    for mode in modes:
        progress(f"{mode.name}: starting")
        try:
            runs[mode.name] = mode.open(session)
            report.parities[mode.name] = Parity(mode.name)
        except ModuleNotFoundError as error:
            if not mode.extra:
                raise
            report.skipped[mode.name] = f"{error.name} is not installed: install tandem-cli[{mode.extra}]"
    return runs


def _samples(bundle: Bundle, rows: int, seed: int, *, golden: bool) -> Iterator[Sample]:
    if golden:
        yield from golden_samples(bundle, utc_now())
    rng = np.random.default_rng(seed)
    for first in range(0, rows, _ROWS_PER_SAMPLE):
        count = min(_ROWS_PER_SAMPLE, rows - first)
        yield random_sample(bundle.model, count, rng, utc_now(), first=first)


def _as_of(reference: Reference, inputs: Inputs, expected: Results, as_of: Column) -> Results:
    """What is expected as of the times at which a mode was asked."""
    if np.array_equal(expected.as_of, as_of):
        return expected
    return reference.compute(Inputs(inputs.request, inputs.views, as_of))
