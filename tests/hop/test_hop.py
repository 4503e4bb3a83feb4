"""The benchmark of the hop compares stacks that speak the same protocol, and says what it measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from benchmarks.hop import report
from benchmarks.hop.client import Order, Outcome
from benchmarks.hop.measure import CallError, Cell, call, serving
from benchmarks.hop.messages import ROWS
from benchmarks.hop.stack import STACKS
from benchmarks.report import Findings, last_line


@pytest.mark.parametrize(("server", "clients"), [("tandem", STACKS), ("h2", ["h2"]), ("grpcio", ["grpcio"])])
def test_every_pair_works_and_every_client_with_our_server(server: str, clients: Sequence[str]) -> None:
    with serving(server) as (port, pid):
        for client in clients:
            outcome = call(Order(client, port, rows=ROWS[-1], calls=2, warmup=0.05, seconds=0.1, server=pid))
            assert outcome.answers > 0
            assert set(outcome.cpu_us) == {"client", "server"}


def test_a_wrong_answer_ends_the_benchmark() -> None:
    with serving("tandem") as (port, pid), pytest.raises(CallError, match="the client of h2 failed"):
        call(Order("h2", port, rows=7, calls=1, warmup=0.05, seconds=0.1, server=pid))


def cell(stack: str, qps: int, cpu_us: float, number: int = 1, calls: int = 16) -> Cell:
    outcome = Outcome(qps, 1.0, {"p50": 1.0, "p99": 2.0}, {"client": cpu_us, "server": 2 * cpu_us})
    return Cell(stack, 1, calls, number, outcome)


CELLS = [
    *(cell("tandem", qps, 10.0, number) for number, qps in enumerate((300, 900, 100), 1)),
    cell("h2", 100, 40.0),
    cell("grpcio", 200, 25.0),
    *(cell(stack, 1, 1.0, calls=1) for stack in STACKS),
]


def test_figures_are_ratios_of_medians(tmp_path: Path) -> None:
    assert report.line(CELLS) == (
        "hop_h2_ratio=3.00 hop_grpcio_ratio=1.50 hop_h2_cpu_ratio=4.00 hop_grpcio_cpu_ratio=2.50"
    )
    report.write(CELLS, {"rounds": 3}, {"cpu": "x"}, tmp_path / "new" / "hop.json")
    content = json.loads((tmp_path / "new" / "hop.json").read_text())
    assert content["figures"]["hop_h2_ratio"] == 3.0
    assert len(content["cells"]) == len(CELLS)
    assert content["bytes"]["1"]["request"] > 18 * 8


def test_they_are_appended_to_the_last_line_of_the_whole() -> None:
    line = last_line(Findings({}, {}, [], hop=report.figures(CELLS)))
    assert line.startswith("bench: rest_ratio=nan ")
    assert line.endswith(" embedded_us=nan " + report.line(CELLS))
    assert last_line(Findings({}, {}, [])).endswith(" embedded_us=nan")
