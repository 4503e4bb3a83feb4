"""What `kubectl get inferencerollouts` shows of rollouts on their way."""

from __future__ import annotations

import functools
import re
from typing import Any

from rollout.tests.rollouts import manifest

from tandem_rollout.api.crd import build_crd

from .world import World, controller

V1, V2 = ({"image": f"athlete:v{number}"} for number in (1, 2))
CANARY = {
    "strategy": {
        "canary": {"steps": [{"weight": 10, "minDuration": "30s"}, {"weight": 50, "minDuration": "30s"}], "bake": "1m"}
    },
    "analysis": {"warmup": "0s"},
}


def table(resource: dict[str, Any], *, wide: bool = False) -> tuple[dict[str, str], int]:
    """Cells by the names of their columns as kubectl prints them, without dates, and the width of all."""
    cells = {"NAME": resource["metadata"]["name"]}
    dates = 0
    for column in build_crd()["spec"]["versions"][0]["additionalPrinterColumns"]:
        if column["priority"] and not wide:
            continue
        if column["type"] == "date":
            dates += len("365d   ")
            continue
        value = functools.reduce(lambda at, key: (at or {}).get(key), column["jsonPath"].split(".")[1:], resource)
        cells[column["name"].upper()] = "" if value is None else str(value)
    return cells, sum(max(len(name), len(cell)) + 3 for name, cell in cells.items()) + dates - 3


def shown(here: World) -> dict[str, str]:
    resource = here.server.get("inferencerollouts", "time-estimator")
    assert resource is not None
    cells, width = table(resource)
    # a message may be long, so it stands last and is what a terminal cuts or wraps
    assert list(cells)[-1] == "MESSAGE"
    assert width - len(cells["MESSAGE"]) <= 100, str(cells)
    assert width <= 120 or cells["PROGRESS"] == "Aborted", str(cells)
    return cells


async def test_a_run_from_its_table(here: World) -> None:
    async with controller(here) as ctl:
        here.server.put("inferencerollouts", manifest(bundle=V1, **CANARY))
        await ctl.run(60)
        served = {"NAME": "time-estimator", "READY": "1/1", "WEIGHTS": "main=100", "MESSAGE": ""}
        assert shown(here) == {**served, "PROGRESS": "", "VERDICT": ""}
        here.server.edit("inferencerollouts", "time-estimator", lambda live: live["spec"].update(bundle=V2))
        await ctl.run(20)
        assert shown(here) == {
            **served,
            "READY": "2/2",
            "WEIGHTS": "stable=90 canary=10",
            "PROGRESS": "Analyzing 10% 1/2",
            "VERDICT": "inconclusive",
        }
        while not (cells := shown(here))["PROGRESS"].startswith("Promoted"):
            assert re.fullmatch(r"main=100|stable=\d+ canary=\d+", cells["WEIGHTS"])
            await ctl.run(10)
        assert shown(here)["WEIGHTS"] == "main=100"


async def test_an_abort_says_why(here: World) -> None:
    here.errors = {"athlete:v2": 0.05}
    async with controller(here) as ctl:
        here.server.put("inferencerollouts", manifest(bundle=V1, **CANARY))
        await ctl.run(60)
        here.server.edit("inferencerollouts", "time-estimator", lambda live: live["spec"].update(bundle=V2))
        await ctl.run(900)
    cells = shown(here)
    assert (cells["PROGRESS"], cells["WEIGHTS"]) == ("Aborted", "main=100")
    assert cells["MESSAGE"].startswith("run 1: Aborted: failed by errors")


async def test_a_wide_table_says_what_was_measured(here: World) -> None:
    async with controller(here) as ctl:
        here.server.put("inferencerollouts", manifest(bundle=V1, **CANARY))
        await ctl.run(60)
        here.server.edit("inferencerollouts", "time-estimator", lambda live: live["spec"].update(bundle=V2))
        await ctl.run(60)
    resource = here.server.get("inferencerollouts", "time-estimator")
    assert resource is not None
    cells, _ = table(resource, wide=True)
    assert 0 < float(cells["MEASURED"]) < 60
    assert cells["URL"] == "http://time-estimator.models.example.com"
