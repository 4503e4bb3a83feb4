"""The registry on MLflow with an SQLite file: versions, aliases and their history."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from tandem import Bundle, BundleError, DefinitionError, EmbeddedModel
from tandem_offline.registry import Reference, Registry, RegistryError
from tandem_offline.registry.entries import PromotionRefused


def test_a_registered_bundle_comes_back_as_it_was(
    registry: Registry, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    version = registry.register(bundles["v1"], metrics={"mae": 1.5}, tags={"git": "4f1c2aa"})
    assert (version.number, version.version, version.digest) == (1, "v1", bundles["v1"].digest)
    assert (version.metrics, version.tags) == ({"mae": 1.5}, {"git": "4f1c2aa"})
    copy = registry.download(version, tmp_path / "bundles")
    assert copy.digest == bundles["v1"].digest
    assert copy.path == tmp_path / "bundles" / bundles["v1"].path.name
    assert registry.download(version, tmp_path / "bundles") == copy
    assert registry.manifest(version) == bundles["v1"].manifest
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [copy.path.name]


def test_nothing_is_pickled(registry: Registry, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    registry.register(bundles["v1"])
    stored = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert not stored & {".pkl", ".pickle", ".joblib"}
    assert ".onnx" in stored


def test_a_bundle_is_registered_once(registry: Registry, bundles: dict[str, Bundle]) -> None:
    assert registry.register(bundles["v1"]).number == 1
    assert registry.register(bundles["v1"]).number == 1
    assert registry.register(bundles["v2"]).number == 2
    assert [version.number for version in registry.versions("small")] == [2, 1]
    assert registry.names() == ["small"]


def test_promotion_rollback_and_history(registry: Registry, bundles: dict[str, Bundle]) -> None:
    v1, v2 = registry.register(bundles["v1"]), registry.register(bundles["v2"])
    first = registry.promote(v1, reason="the first")
    second = registry.promote(v2, reason="better")
    assert first is not None and (first.number, first.previous) == (1, None)
    assert second is not None and (second.number, second.previous) == (2, 1)
    assert registry.promote(v2) is None
    assert registry.resolve(Reference.parse("models:/small@champion")).digest == v2.digest
    assert registry.resolve(Reference.parse("models:/small/2")).aliases == ("champion",)
    back = registry.rollback("small", reason="drift")
    assert (back.number, back.previous, back.reason) == (1, 2, "drift")
    assert registry.resolve(Reference.parse("models:/small@champion")).number == 1
    assert registry.history("small") == [first, second, back]
    with pytest.raises(RegistryError, match="points to version 1 since it was first set"):
        registry.rollback("small")


def test_a_promotion_that_breaks_clients_is_refused(registry: Registry, bundles: dict[str, Bundle]) -> None:
    registry.promote(registry.register(bundles["v1"]))
    narrower = registry.register(bundles["v3"])
    with pytest.raises(
        PromotionRefused, match=r"models:/small/2 breaks clients of models:/small/1, .* x: upper bound"
    ) as refusal:
        registry.promote(narrower)
    assert [change.field for change in refusal.value.changes] == ["x"]
    assert registry.resolve(Reference("small", alias="champion")).number == 1
    assert registry.promote(narrower, alias="challenger") is not None
    assert registry.promote(narrower, allow_breaking=True) is not None


def test_mlflow_loads_and_predicts(
    registry: Registry, bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(registry.register(bundles["v1"]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", registry.uri)
    loaded = mlflow.pyfunc.load_model("models:/small@champion")
    requests = pd.DataFrame({"id": ["a", "b"], "x": [1.0, 2.0], "ts": pd.to_datetime(["2026-05-01", "2026-05-02"])})
    answers = EmbeddedModel.open(bundles["v1"].path).predict(requests)
    assert loaded.predict(requests)["y"].tolist() == [answer["y"] for answer in answers]
    joined = requests.assign(load_event_time=requests["ts"], ctl=[7.0, 8.0])
    expected = EmbeddedModel.open(bundles["v1"].path).predict_columns(joined)["y"].tolist()
    assert loaded.predict(joined)["y"].tolist() == expected != [answer["y"] for answer in answers]


def test_what_is_not_there(registry: Registry, bundles: dict[str, Bundle]) -> None:
    registry.register(bundles["v1"])
    for text in ("models:/small/2", "models:/small@champion", "models:/other/1"):
        with pytest.raises(RegistryError, match="registry sqlite:"):
            registry.resolve(Reference.parse(text))
    for call in (registry.versions, registry.history, registry.rollback):
        with pytest.raises(RegistryError, match="other"):
            call("other")
    with pytest.raises(RegistryError, match="champion does not exist"):
        registry.rollback("small")


def test_only_who_registers_makes_the_file(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    with pytest.raises(RegistryError, match=f"file {file} does not exist; `tandem register` creates it"):
        Registry(f"sqlite:///{file}")
    assert list(tmp_path.iterdir()) == []
    Registry(f"sqlite:///{file}", create=True).register(bundles["v1"])
    assert Registry(f"sqlite:///{file}").names() == ["small"]


def test_a_damaged_bundle_is_not_registered(registry: Registry, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundles["v1"].path, tmp_path / "copy"))
    bundle = Bundle.open(copy)
    (copy / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"model.onnx is damaged"):
        registry.register(bundle)
    assert registry.names() == []


def test_a_bundle_that_was_damaged_in_the_registry(
    registry: Registry, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    version = registry.register(bundles["v1"])
    for file in tmp_path.rglob("model.onnx"):
        file.write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"model.onnx is damaged"):
        registry.download(version, tmp_path / "bundles")
    assert list((tmp_path / "bundles").iterdir()) == []


@pytest.mark.parametrize(
    "text", ["small", "models:/small", "models:/small@", "models:/a/b/3", "models:/small/x", "runs:/1/m"]
)
def test_references_that_are_none(text: str) -> None:
    with pytest.raises(DefinitionError, match="names no version"):
        Reference.parse(text)


@pytest.mark.parametrize("text", ["models:/small/3", "models:/small@champion"])
def test_references(text: str) -> None:
    assert str(Reference.parse(text)) == text
