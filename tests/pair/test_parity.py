"""Every mode comes to the same, for a model with each type of field that there is, and for one with two models."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformer.tests import world

from tandem import Bundle
from tandem_cli.parity.modes import IN_PROCESS, MODES
from tandem_cli.parity.running import Report, run_parity


def check(report: Report) -> None:
    assert not report.skipped
    for name, parity in report.parities.items():
        assert parity.is_equal, (name, parity.differing, parity.first)
        assert parity.vector_bits == 0 and parity.tolerance_share <= 1
        assert parity.rows and parity.vectors and parity.errors, name


@pytest.fixture(scope="module")
def report(bundle: Bundle) -> Report:
    return run_parity(bundle, MODES, rows=250)


def test_every_mode_is_equal(report: Report) -> None:
    check(report)
    assert list(report.parities) == [mode.name for mode in MODES]


def test_every_mode_has_all_rows_but_batch(report: Report) -> None:
    total = report.rows.total()
    # without a time of its own, a row cannot be in a table
    assert {name for name, parity in report.parities.items() if parity.rows < total} == {"batch"}
    assert total // 2 < report.parities["batch"].rows < total
    vectors = {parity.vectors for name, parity in report.parities.items() if name != "batch"}
    assert len(vectors) == 1 and total // 2 < vectors.pop() < total


def test_rows_that_the_simpler_model_answers(tmp_path: Path) -> None:
    report = run_parity(world.write_nested(tmp_path), IN_PROCESS, rows=300)
    for name, parity in report.parities.items():
        assert parity.is_equal, (name, parity.differing, parity.first)
        # the model itself is given no vector of them, and a stream leaves them out
        assert (0 < parity.vectors < parity.rows - parity.errors) == (name != "stream")
    assert report.parities["stream"].rows < report.rows.total()
