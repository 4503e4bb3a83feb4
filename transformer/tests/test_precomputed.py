"""Predictions computed ahead: read in the lookup, with the online path for what is not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tandem import Bundle
from tandem.dtypes import Columns
from tandem.oip import rest, rest_header
from tandem.precomputed import PrecomputedPredictions
from tandem.rows import RowReader
from tandem_transformer.app import TransformerApp
from tandem_transformer.breaker import FAILURES

from . import ask as asking
from . import world
from .client import Client
from .parts import make_service
from .test_lookups import Switched
from .test_service import Counting, ask, minutes
from .world import AHEAD, NOW, good_row

HOUR = np.timedelta64(3600, "s")


def columns_of(bundle: Bundle, rows: Sequence[dict[str, Any]]) -> Columns:
    reader = RowReader(bundle.contract)
    return reader.columns(msgspec.convert(rows, list[reader.row_type]))  # type: ignore[name-defined]


def written(bundle: Bundle, rows: Sequence[dict[str, Any]], *, value: float, age: Any = 0) -> list[tuple[bytes, bytes]]:
    """Predictions that no model would make, about the time of the questions or earlier."""
    precomputed = PrecomputedPredictions(bundle)
    count = len(rows)
    answers: Columns = {
        "minutes": np.full(count, value),
        "eta": np.full(count, "ahead", object),
        "promised": np.full(count, 7),
        "slow": np.full(count, True),
    }
    times = np.full(count, NOW) - age
    return list(zip(precomputed.keys(columns_of(bundle, rows)), precomputed.pack(answers, times), strict=True))


async def store_with(*rows: tuple[bytes, bytes]) -> Switched:
    store = Switched()
    await store.put([*world.stored(), *rows])
    return store


async def test_a_hit_answers_without_the_predictor_and_a_miss_with_it(ahead_bundle: Bundle) -> None:
    rows = [good_row(parts=parts) for parts in (2, 3, 4, 5)]
    store = await store_with(*written(ahead_bundle, rows[::2], value=-5.0, age=90 * np.timedelta64(1, "s")))
    predictor = Counting(ahead_bundle)
    service = make_service(ahead_bundle, store=store, predictor=predictor)
    answer = await ask(service, *rows)
    expected = world.offline(ahead_bundle, rows).answers["minutes"]
    assert minutes(answer) == pytest.approx([-5.0, expected[1], -5.0, expected[3]], rel=1e-5)
    assert answer.batch.columns["eta"][0] == "ahead"
    assert (predictor.asked, store.asked) == ([2], 1)
    assert answer.precomputed == {0: 90.0, 2: 90.0}
    assert minutes(await ask(service, rows[0])) == [-5.0]
    assert predictor.asked == [2]
    service.recorder.flush()
    exposition = service.recorder.exposition().decode()
    name = 'tandem_prediction_cache_total{model="parcels",outcome="precomputed",version="v1"}'
    assert f"{name} 3.0" in exposition
    assert 'tandem_precomputed_misses_total{model="parcels",reason="missing",version="v1"} 2.0' in exposition
    await service.close()


async def test_it_answers_no_other_request_version_or_time(ahead_bundle: Bundle, tmp_path: Path) -> None:
    package = world.package_with(tmp_path / "package", AHEAD)
    newer_bundle = world.write(tmp_path, package=package, version="v2")
    old = written(ahead_bundle, [good_row()], value=-5.0, age=HOUR + np.timedelta64(1, "us"))
    of_other = written(newer_bundle, [good_row()], value=-6.0)
    copied = [(key, of_other[0][1]) for key, _ in written(ahead_bundle, [good_row(parts=9)], value=0.0)]
    service = make_service(ahead_bundle, store=await store_with(*old, *of_other, *copied))
    rows = [good_row(), good_row(parts=9), good_row(parts=10)]
    answer = await ask(service, *rows)
    assert minutes(answer) == pytest.approx(list(world.offline(ahead_bundle, rows).answers["minutes"]), rel=1e-5)
    assert answer.precomputed == {}
    exposition = service.recorder.exposition().decode()
    for reason, count in (("stale", 1), ("missing", 2)):
        name = f'tandem_precomputed_misses_total{{model="parcels",reason="{reason}",version="v1"}}'
        assert f"{name} {count}.0" in exposition
    await service.close()


async def test_it_answers_where_features_are_lacking(nested_ahead_bundle: Bundle) -> None:
    """All three sources in one batch."""
    unknown = [good_row(depot_id=7777, parts=parts) for parts in (2, 3)]
    rows = [good_row(), *unknown]
    service = make_service(
        nested_ahead_bundle, store=await store_with(*written(nested_ahead_bundle, unknown[:1], value=-5.0))
    )
    answer = await ask(service, *rows)
    assert nested_ahead_bundle.simpler is not None
    simple = world.offline(nested_ahead_bundle.simpler, unknown).answers["minutes"]
    own = world.offline(nested_ahead_bundle, rows[:1]).answers["minutes"]
    assert minutes(answer) == pytest.approx([own[0], -5.0, simple[1]], rel=1e-5)
    assert (answer.precomputed, list(answer.degraded)) == ({1: 0.0}, [2])
    await service.close()


async def test_a_store_that_is_gone_or_has_garbage_leaves_the_online_path(ahead_bundle: Bundle) -> None:
    store = await store_with(*written(ahead_bundle, [good_row()], value=-5.0))
    service = make_service(ahead_bundle, store=store)
    assert minutes(await ask(service, good_row())) == [-5.0]
    expected = pytest.approx(list(world.offline(ahead_bundle, [good_row()]).answers["minutes"]), rel=1e-5)
    store.is_on = False
    for _ in range(FAILURES + 1):
        during = await ask(service, good_row())
        assert minutes(during) == expected
        assert (during.precomputed, {why.source for why in during.degraded[0].values()}) == ({}, {"last_known"})
    await service.close()
    (key, row), *_ = written(ahead_bundle, [good_row()], value=-5.0)
    for garbage in (b"", row[:-1], row + b"x", b"garbage"):
        service = make_service(ahead_bundle, store=await store_with((key, garbage)))
        answer = await ask(service, good_row())
        assert (minutes(answer), answer.degraded) == (expected, {})
        await service.close()


async def test_clients_see_what_was_computed_ahead(ahead_bundle: Bundle) -> None:
    rows = [good_row(), good_row(parts=3)]
    ahead = written(ahead_bundle, rows[1:], value=-5.0, age=np.timedelta64(1500, "ms"))
    service = make_service(ahead_bundle, store=await store_with(*ahead))
    async with Client(TransformerApp(service), service) as client:
        first, second = (await client.predict(*rows)).json()["predictions"]
        assert "precomputed" not in first
        assert second["precomputed"] == {"age_s": 1.5}
        assert (second["minutes"], second["eta"], second["promised"], second["slow"]) == (-5.0, "ahead", 7, True)
        body, length = rest.encode_request(asking.infer_request(rows))
        headers = {rest_header.HEADER_LENGTH: str(length)}
        reply = await client.post("/v2/models/parcels/infer", content=body, headers=headers)
        header = reply.headers.get(rest_header.HEADER_LENGTH)
        outputs = asking.columns(rest.decode_response(reply.content, int(header) if header else None))
        assert outputs["minutes"] == pytest.approx([first["minutes"], -5.0])
        assert np.isnan(outputs["precomputed_age_s"][0])
        assert outputs["precomputed_age_s"][1] == 1.5
    await service.close()
