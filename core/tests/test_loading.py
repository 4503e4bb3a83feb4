"""`tandem.load`: a bundle by its names, with a store by its URL, and nothing else of Tandem or of servers."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tandem
from tandem import Bundle, BundleError, EmbeddedModel, StoreError
from tandem.loading import EXPORTED_BUNDLE, EXPORTED_SNAPSHOT
from tandem.packed_rows import RowLayout
from tandem.snapshots import rows_of_store, write_snapshot
from tandem.stores.memory import MemoryStore

ROW = {"city_id": "city-1", "driver_id": 7, "distance_km": 12.0, "shared": True, "asked_at": "2026-05-01T08:00:00Z"}
ROWS = [ROW, {**ROW, "city_id": "?"}, {**ROW, "asked_at": "2026-05-03T08:00:00Z"}, {**ROW, "driver_id": 8}]

NEEDED = {"flatbuffers", "google", "msgspec", "numpy", "onnxruntime", "packaging", "tandem", "typing_extensions"}
"""What may be imported beside Python's own modules and the model's package."""

PREDICT = """
import sys
import tandem
bundle, store = sys.argv[1:]
(answer,) = tandem.load(bundle, store=store).predict([{row}])
assert "degraded" not in answer
print(*{{name.partition(".")[0] for name in sys.modules}} - sys.stdlib_module_names)
"""


def memory_store(bundle: Bundle) -> MemoryStore:
    store = MemoryStore()
    times = np.array(["2026-05-01T07:00"], "datetime64[us]")
    city, driver = (RowLayout(use.view) for use in bundle.model.views)
    cities = [np.array(["city-1"], object)]
    values = {"speed": np.array([24.0]), "zone": np.array(["a"], object), "lanes": np.array([3])}
    asyncio.run(store.put(zip(city.keys(cities), city.pack(values, times), strict=True)))
    keys = driver.keys([np.array([7]), *cities])
    asyncio.run(store.put(zip(keys, driver.pack({"rating": np.array([5.0])}, times), strict=True)))
    return store


@pytest.fixture(scope="module")
def snapshot(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshot") / "features"
    write_snapshot(path, [use.view for use in bundle.model.views], rows_of_store(memory_store(bundle)))
    return path


def test_a_snapshot_answers_as_the_memory_store_does(bundle: Bundle, snapshot: Path) -> None:
    """Known, unknown, older than max_age, and unknown to one of the views."""
    expected = EmbeddedModel.open(bundle.path, get=memory_store(bundle).get_now).predict(ROWS)
    assert tandem.load(bundle.path, store=f"snapshot://{snapshot}").predict(ROWS) == expected
    reasons = [{view: entry["reason"] for view, entry in answer.get("degraded", {}).items()} for answer in expected]
    assert reasons == [{}, {"city": "missing", "driver": "missing"}, {"city": "stale"}, {"driver": "missing"}]


def test_a_bundle_that_is_open_and_a_function_that_reads(bundle: Bundle) -> None:
    store = memory_store(bundle)
    expected = EmbeddedModel.open(bundle.path, get=store.get_now).predict(ROWS)
    assert tandem.load(bundle, store=store.get_now).predict(ROWS) == expected
    assert tandem.load(str(bundle.path)).predict(ROWS) == EmbeddedModel.open(bundle.path).predict(ROWS)


def test_an_export_has_its_snapshot_beside_the_bundle(bundle: Bundle, snapshot: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / EXPORTED_BUNDLE)
    assert "degraded" in tandem.load(tmp_path).predict([ROW])[0]
    shutil.copy(snapshot, tmp_path / EXPORTED_SNAPSHOT)
    assert "degraded" not in tandem.load(tmp_path).predict([ROW])[0]
    assert "degraded" in tandem.load(tmp_path, store="memory://").predict([ROW])[0]


@pytest.mark.parametrize(
    ("name", "rule"),
    [("none", "is not a bundle"), ("export.zip", "is a file; unpack it"), ("models:/rides/1", "is a version in a reg")],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, rule: str) -> None:
    monkeypatch.setattr("tandem.loading.entry_points", lambda **_: [])
    (tmp_path / "export.zip").write_bytes(b"PK")
    with pytest.raises(BundleError, match=rule):
        tandem.load(name if name.startswith("models:") else tmp_path / name)


def test_a_snapshot_of_another_model_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    write_snapshot(tmp_path / "s", [], rows_of_store(MemoryStore()))
    with pytest.raises(StoreError, match="has no feature view 'city' version 1; it has none"):
        tandem.load(bundle, store=f"snapshot://{tmp_path / 's'}")


def run(code: str, *arguments: Any) -> list[str]:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_predicting_imports_no_servers(bundle: Bundle, snapshot: Path) -> None:
    imported = run(PREDICT.format(row=ROW), bundle.path, f"snapshot://{snapshot}")
    # what the site packages of an environment import in every process
    own = run("import sys; print(*{name.partition('.')[0] for name in sys.modules})")
    assert set(imported) - set(own) <= {*NEEDED, "rides"}


def test_importing_tandem_imports_nothing_else() -> None:
    assert run("import tandem, sys; print(*{'numpy', 'msgspec', 'packaging'} & sys.modules.keys())") == []


def test_every_public_name_is_there() -> None:
    assert set(tandem.__all__) == set(tandem._MODULES) <= set(dir(tandem))
    for name in tandem.__all__:
        assert getattr(tandem, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'tandem' has no attribute 'laod'"):
        tandem.laod  # noqa: B018
