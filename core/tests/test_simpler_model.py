"""A bundle within a bundle: the simpler model that answers where stored features are lacking."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tandem import Bundle, BundleError, DefinitionError, EmbeddedModel, StoreError
from tandem.bundle_directory import find
from tandem.errors import NotFound, Unavailable
from tandem.manifest import GOLDEN, MANIFEST, MODEL, SIMPLER
from tandem.packed_rows import RowLayout
from tandem.stores.memory import MemoryStore

Trained = Any

ROW = {"city_id": "city-1", "driver_id": 7, "distance_km": 12.0, "shared": True, "asked_at": "2026-05-01T08:00:00Z"}
INPUTS = (
    'inputs=[standardize("distance_km"), hours, one_hot("zone"), "rating", "lanes", "shared", "seats", '
    'city_hours_old,\n            "rain_mm"]'
)


def leaves_rows(source: str) -> str:
    """The model package with two views that leave rows to a simpler model; one of them has a default for all."""
    source = source.replace('max_age="1d", features', 'max_age="1d", fallback="model", features')
    return source.replace('features=[Feature("rating", default=4.5)]', 'fallback="model", features=[Feature("rating")]')


def lean(source: str) -> str:
    """The model package with the same contract and no views."""
    changed = source.replace("views=[city, driver]", "views=[]")
    return changed.replace(INPUTS, 'inputs=[standardize("distance_km"), "shared", "seats", "rain_mm"]')


Write = Callable[..., Bundle]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, source: str) -> dict[str, Path]:
    from .conftest import write_package

    sources = {"main": leaves_rows(source), "lean": lean(source), "plain": source}
    assert len(set(sources.values())) == len(sources)
    return {name: write_package(tmp_path_factory.mktemp(name) / "rides", source=text) for name, text in sources.items()}


@pytest.fixture(scope="session")
def main(packages: dict[str, Path]) -> Trained:
    from .conftest import train

    return train(packages["main"])


@pytest.fixture(scope="session")
def simpler(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from .conftest import train

    return train(packages["lean"]).write(tmp_path_factory.mktemp("simpler"))


@pytest.fixture(scope="session")
def nested(main: Trained, simpler: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with a simpler model; no test may change it."""
    return main.write(tmp_path_factory.mktemp("nested"), simpler=simpler)


@pytest.fixture
def copy(nested: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nested.path, tmp_path / nested.path.name))


def stored(bundle: Bundle, cities: Sequence[str] = ("city-1",), day: str = "2026-05-01T07:00") -> MemoryStore:
    """A store that knows driver 7 and some cities."""
    city, driver = (RowLayout(use.view) for use in bundle.model.views)
    names = np.array(cities, object)
    times = np.array([day] * len(names), "datetime64[us]")
    values = {
        "speed": np.full(len(names), 24.0),
        "zone": np.full(len(names), "a", object),
        "lanes": np.full(len(names), 3),
    }
    store = MemoryStore()
    store._rows.update(zip(city.keys([names]), city.pack(values, times), strict=True))
    ratings = {"rating": np.full(len(names), 5.0)}
    store._rows.update(zip(driver.keys([np.full(len(names), 7), names]), driver.pack(ratings, times), strict=True))
    return store


def test_one_digest_covers_both(nested: Bundle, simpler: Bundle, main: Trained, tmp_path: Path) -> None:
    names = {file.name for file in nested.path.iterdir()}
    assert names == {MANIFEST, MODEL, GOLDEN, SIMPLER, "rides-1.0-py3-none-any.whl"}
    again = Bundle.open(nested.path).simpler
    assert again is not None
    assert again.digest == simpler.digest
    assert again.wire_name != nested.wire_name
    assert main.write(tmp_path, simpler=simpler.path).digest == nested.digest
    assert [bundle.digest for bundle in find(tmp_path)] == [nested.digest]


@pytest.mark.parametrize("name", [MODEL, GOLDEN, MANIFEST, "rides-1.0-py3-none-any.whl"])
def test_a_damaged_simpler_model_is_refused(copy: Path, name: str) -> None:
    file = copy / SIMPLER / name
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    with pytest.raises(BundleError, match="damaged"):
        Bundle.open(copy)


def test_another_bundle_in_its_place_is_refused(copy: Path, bundle: Bundle) -> None:
    shutil.rmtree(copy / SIMPLER)
    shutil.copytree(bundle.path, copy / SIMPLER)
    with pytest.raises(BundleError, match="another bundle than"):
        Bundle.open(copy)
    shutil.rmtree(copy / SIMPLER)
    with pytest.raises(BundleError, match="simpler is not a bundle"):
        Bundle.open(copy)


def test_a_directory_that_the_manifest_does_not_name_is_refused(copied: Path, simpler: Bundle) -> None:
    shutil.copytree(simpler.path, copied / SIMPLER)
    with pytest.raises(BundleError, match="simpler does not belong to the bundle"):
        Bundle.open(copied)


def test_a_manifest_must_name_a_whole_digest(copy: Path, simpler: Bundle) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(manifest | {"simpler": simpler.digest[:8]}))
    with pytest.raises(BundleError, match="is not the digest of a bundle"):
        Bundle.open(copy)
    # the views still leave rows to it
    del manifest["simpler"]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="'city' has fallback=\"model\", and the bundle has no simpler model"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("views=[]", "views=[city]", "the simpler model looks up 'city'; it must need no stored features"),
        ('unit="EUR"', 'unit="USD"', "another contract: prediction must be the same"),
        ("le=8", "le=9", "another contract: request parameters must be the same"),
        ('unit="min"', 'unit="h"', "another contract: outputs must be the same"),
    ],
)
def test_a_simpler_model_must_be_able_to_stand_for_the_model(
    main: Trained, make_package: Any, source: str, tmp_path: Path, old: str, new: str, message: str
) -> None:
    from .conftest import train

    text = lean(source)
    assert old in text
    lean_bundle = train(make_package(source=text.replace(old, new))).write(tmp_path / "other")
    with pytest.raises(DefinitionError, match=message):
        main.write(tmp_path, simpler=lean_bundle)
    assert [file.name for file in tmp_path.glob("rides-*")] == []


def test_its_name_and_its_tensor_may_differ(main: Trained, make_package: Any, source: str, tmp_path: Path) -> None:
    from .conftest import train

    text = lean(source).replace('"rides",', '"rides-simple",').replace('unit="EUR"', 'unit="EUR", tensor="variable"')
    lean_bundle = train(make_package(source=text)).write(tmp_path / "other")
    bundle = main.write(tmp_path, simpler=lean_bundle)
    assert bundle.simpler is not None
    assert bundle.simpler.wire_name == f"rides-simple-{lean_bundle.digest[:8]}"


def test_a_simpler_model_without_need_and_a_need_without_one_are_refused(
    main: Trained, trained: Trained, simpler: Bundle, nested: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(DefinitionError, match="'city' has fallback=\"model\", and the bundle has no simpler model"):
        main.write(tmp_path)
    with pytest.raises(DefinitionError, match='no feature view has fallback="model"'):
        trained.write(tmp_path, simpler=simpler)
    with pytest.raises(DefinitionError, match="must need no stored features"):
        main.write(tmp_path, simpler=nested)


def test_rows_without_features_are_answered_by_the_simpler_model(nested: Bundle, simpler: Bundle) -> None:
    rows = [{**ROW, "distance_km": float(km), "city_id": f"city-{km % 3}"} for km in range(1, 20)]
    city_flags = [row["city_id"] == "city-1" for row in rows]
    answers = EmbeddedModel.open(nested.path, get=stored(nested).get_now).predict(rows)
    everywhere = stored(nested, ["city-0", "city-1", "city-2"])
    full = EmbeddedModel.open(nested.path, get=everywhere.get_now).predict(rows)
    simple = EmbeddedModel.open(simpler.path).predict(rows)
    for is_known, answer, own, simple_answer in zip(city_flags, answers, full, simple, strict=True):
        assert own["fare"] != pytest.approx(simple_answer["fare"], rel=1e-3)
        # all features of the city have defaults; the driver's has none
        degraded = None if is_known else {"driver": {"reason": "missing", "source": "simpler_model"}}
        assert answer.pop("degraded", None) == degraded
        assert answer.pop("fare") == pytest.approx((own if is_known else simple_answer)["fare"], rel=1e-6)
        assert answer.keys() == {"minutes"}


def test_a_store_that_does_not_answer_leaves_all_rows_to_it(nested: Bundle, simpler: Bundle) -> None:
    def fail(keys: Sequence[bytes]) -> list[bytes | None]:
        raise StoreError("gone")

    (answer,) = EmbeddedModel.open(nested.path, get=fail).predict([ROW])
    why = {"reason": "unavailable", "source": "simpler_model"}
    # although every feature of the city has a default
    assert answer.pop("degraded") == {"city": why, "driver": why}
    assert [answer] == EmbeddedModel.open(simpler.path).predict([ROW])


def test_errors_name_rows_of_the_request(nested: Bundle) -> None:
    model = EmbeddedModel.open(nested.path, get=stored(nested).get_now)
    # the vector is float32: the sum of what is allowed is finite, what is not allowed is not
    unknown, heavy_rain = {**ROW, "city_id": "?"}, {**ROW, "rain_mm": 1e300}
    with pytest.raises(Exception, match="row 2, field 'rain_mm'") as error:
        model.predict([ROW, unknown, heavy_rain, heavy_rain])
    assert [detail["row"] for detail in error.value.details] == [2, 3]  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="row 1, field 'rain_mm'"):
        model.predict([ROW, {**unknown, "rain_mm": 1e300}])


def test_a_view_that_refuses_is_not_answered_by_it(
    make_package: Any, source: str, tmp_path: Path, simpler: Bundle
) -> None:
    from .conftest import train

    text = leaves_rows(source).replace('fallback="model", features=[Feature("rating")]', 'features=[Feature("rating")]')
    bundle = train(make_package(source=text)).write(tmp_path, simpler=simpler)

    def fail(keys: Sequence[bytes]) -> list[bytes | None]:
        raise StoreError("gone")

    with pytest.raises(Unavailable, match="no defaults stand for feature view 'driver'"):
        EmbeddedModel.open(bundle.path, get=fail).predict([ROW])
    with pytest.raises(NotFound, match="feature view 'driver' has nothing"):
        EmbeddedModel.open(bundle.path).predict([ROW])


def test_golden_rows_are_those_of_the_model_itself(main: Trained, simpler: Bundle, tmp_path: Path) -> None:
    inputs = main.inputs.take(slice(0, 40))
    inputs.views[1].event_time[3] = np.datetime64("NaT")
    with pytest.raises(NotFound, match="feature view 'driver' has nothing"):
        main.write(tmp_path, simpler=simpler, golden=inputs)
