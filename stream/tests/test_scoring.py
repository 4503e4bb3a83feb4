"""One bad record among many: the others have their predictions, and it has its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest
from transformer.tests import world
from transformer.tests.world import good_row

from tandem import Bundle, StoreError
from tandem.errors import Unavailable
from tandem.inputs import Tensors
from tandem.onnx_model import OnnxModel
from tandem_stream.answers import AnswerWriter
from tandem_stream.decoding import JsonDecoder
from tandem_stream.lookups import Lookups
from tandem_stream.scoring import Scorer


@dataclass
class Parts:
    """A store and a model that can be switched off."""

    model: OnnxModel
    store: Callable[[Sequence[bytes]], list[bytes | None]] = field(default_factory=lambda: world.memory_store().get_now)
    calls: int = 0
    store_is_down: bool = False
    model_is_down: bool = False

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if self.store_is_down:
            raise StoreError("it is down")
        return self.store(keys)

    def predict(self, tensors: Tensors) -> Tensors:
        self.calls += 1
        if self.model_is_down:
            raise Unavailable("it is down", code="predictor_unavailable")
        return self.model.run(tensors)


@pytest.fixture
def parts(bundle: Bundle) -> Parts:
    return Parts(OnnxModel(bundle.model_path))


def scorer(bundle: Bundle, parts: Parts, **options: Any) -> Scorer:
    return Scorer(
        bundle,
        decoder=JsonDecoder(bundle.contract),
        lookups=Lookups(bundle.model.views, parts.get, **options),
        predict=parts.predict,
        writer=AnswerWriter(bundle, "minutes", copied_fields=["customer_id", "asked_at"]),
    )


def encoded(rows: Sequence[dict[str, Any]]) -> list[bytes]:
    return [msgspec.json.encode(row) for row in rows]


def test_predictions_are_those_without_a_stream(bundle: Bundle, parts: Parts, records_of: Any) -> None:
    rows = world.rows(300, seed=1)
    scored = scorer(bundle, parts).score(records_of(encoded(rows)))
    assert parts.calls == 1 and not scored.rejected
    offline = world.offline(bundle, rows)
    for number in range(len(rows)):
        answer = msgspec.json.decode(scored.values[number])
        assert answer["minutes"] == offline.answers["minutes"][number]
        assert answer["eta"] == offline.answers["eta"][number]
        assert answer["customer_id"] == rows[number]["customer_id"]
        assert answer.get("degraded") == msgspec.to_builtins(offline.degraded.get(number))
    assert scored.stages.keys() == {"decode", "lookup", "odt", "mdt", "predict", "post"}


BAD = {
    "entity_not_found": good_row(depot_id=999_999),
    "entity_stale": good_row(depot_id=world.STALE_DEPOT),
    "prediction_not_finite": good_row(depot_id=world.STANDING_DEPOT),
    "transform_failed": good_row(depot_id=world.STUCK_DEPOT),
    "contract_violation": good_row(parts=21),
}


@pytest.mark.parametrize("place", [0, 37, 99])
def test_bad_rows_are_rejected_each_with_its_reason(bundle: Bundle, parts: Parts, records_of: Any, place: int) -> None:
    rows = world.rows(100, seed=2)
    alone = scorer(bundle, parts).score(records_of(encoded(rows)))
    rows[place:place] = BAD.values()
    scored = scorer(bundle, parts).score(records_of(encoded(rows)))
    assert {number - place: error.code for number, error in scored.rejected.items()} == dict(enumerate(BAD))
    valid_values = [scored.values[number] for number in range(len(rows)) if number not in scored.rejected]
    minutes = [msgspec.json.decode(value)["minutes"] for value in valid_values]
    expected = [msgspec.json.decode(alone.values[number])["minutes"] for number in range(100)]
    assert minutes == pytest.approx(expected, rel=1e-5)


def test_nothing_but_bad_records_asks_no_one(bundle: Bundle, parts: Parts, records_of: Any) -> None:
    parts.store_is_down = True
    scored = scorer(bundle, parts).score(records_of([b"no", None]))
    assert scored.rejected.keys() == {0, 1} and not scored.values and not parts.calls


@pytest.mark.parametrize(("part", "code"), [("store", "store_unavailable"), ("model", "predictor_unavailable")])
def test_an_outage_is_of_the_whole_batch(bundle: Bundle, parts: Parts, records_of: Any, part: str, code: str) -> None:
    setattr(parts, f"{part}_is_down", True)
    records = records_of(encoded(world.rows(10, seed=3)))
    waiting = scorer(bundle, parts)
    with pytest.raises(Unavailable) as caught:
        waiting.score(records)
    assert caught.value.code == code
    setattr(parts, f"{part}_is_down", False)
    assert len(waiting.score(records).values) == 10


def test_rows_are_degraded_as_online_if_so_wished(bundle: Bundle, parts: Parts, records_of: Any) -> None:
    degrading = scorer(bundle, parts, outage="degrade", known_bytes=2**20)
    records = records_of(encoded([good_row()]))
    full_answer = msgspec.json.decode(degrading.score(records).values[0])
    assert "degraded" not in full_answer
    parts.store_is_down = True
    scored = degrading.score(records)
    answer = msgspec.json.decode(scored.values[0])
    assert answer["minutes"] == full_answer["minutes"]
    assert {view: (why["reason"], why["source"]) for view, why in answer["degraded"].items()} == dict.fromkeys(
        ("customer", "depot", "route"), ("unavailable", "last_known")
    )
    assert [degradation.reason for degradation in scored.degraded] == ["unavailable"] * 3
    # nothing is known of this depot, and nothing may stand for it: it waits
    with pytest.raises(Unavailable):
        degrading.score(records_of(encoded([good_row(depot_id=3)])))


def test_a_row_that_cannot_be_read_is_rejected_alone(bundle: Bundle, parts: Parts, records_of: Any) -> None:
    read = parts.store
    parts.store = lambda keys: [
        b"damaged" if key == b"depot:1:5" else row for key, row in zip(keys, read(keys), strict=True)
    ]
    rows = [good_row(), good_row(depot_id=5), good_row(depot_id=4)]
    scored = scorer(bundle, parts).score(records_of(encoded(rows)))
    assert {number: error.code for number, error in scored.rejected.items()} == {1: "stored_row_unreadable"}
    assert scored.values.keys() == {0, 2}


def test_a_question_without_a_time_is_asked_when_it_was_sent(bundle: Bundle, parts: Parts, records_of: Any) -> None:
    rows = [good_row(asked_at=...)]
    sent = int(world.NOW.astype("datetime64[ms]").astype(np.int64))
    (value,) = scorer(bundle, parts).score(records_of(encoded(rows), timestamp=sent)).values.values()
    (expected,) = world.offline(bundle, rows).answers["minutes"]
    assert msgspec.json.decode(value)["minutes"] == expected
