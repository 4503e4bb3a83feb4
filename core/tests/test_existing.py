from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tandem import Bundle, BundleError, DefinitionError, EmbeddedModel, bundle_from_onnx
from tandem.manifest import MANIFEST

Trained = Any
ROWS = 40


@pytest.fixture
def existing(trained: Trained, tmp_path: Path, table: Any) -> Any:
    """Writes a bundle of what training has left: ``existing(state=…)``."""
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "model.onnx").write_bytes(trained.onnx)

    def write(**changes: Any) -> Bundle:
        arguments: dict[str, Any] = {
            "package": trained.package,
            "version": "v1",
            "onnx": tmp_path / "left" / "model.onnx",
            "golden": {name: column[:ROWS] for name, column in table(300).items()},
            "state": {**trained.pipeline.state, "minutes": {"per_minute": 0.5}},
            "expected": trained.expected[:ROWS],
            "training_predictions": trained.expected[:ROWS],
        }
        return bundle_from_onnx(tmp_path / "bundles", **(arguments | changes))

    return write


def test_the_same_bundle_as_of_training(existing: Any, trained: Trained, tmp_path: Path) -> None:
    assert existing().digest == trained.write(tmp_path / "trained").digest
    assert existing(golden=trained.inputs.take(slice(0, ROWS))).digest == existing().digest
    assert existing().manifest.proof == "training"


def test_state_of_another_kind_of_deviation_is_noticed_by_what_is_expected(existing: Any, trained: Trained) -> None:
    state = {name: dict(values) for name, values in trained.pipeline.state.items()}
    state["standardize_distance_km"]["std"] *= np.sqrt(300 / 299)  # ddof=1
    with pytest.raises(BundleError, match=r"golden replay: row \d+ of output 'variable' is"):
        existing(state={**state, "minutes": {"per_minute": 0.5}})


def test_golden_rows_of_the_file_alone_prove_transport_only(existing: Any) -> None:
    bundle = existing(expected=None)
    assert bundle.manifest.proof == "transport"
    assert json.loads((bundle.path / MANIFEST).read_bytes())["proof"] == "transport"
    assert Bundle.open(bundle.path).manifest.proof == "transport"
    EmbeddedModel.open(bundle.path)


def test_a_bundle_that_does_not_say_proves_training(existing: Any) -> None:
    bundle = existing()
    content = json.loads((bundle.path / MANIFEST).read_bytes())
    del content["proof"]
    (bundle.path / MANIFEST).write_text(json.dumps(content))
    assert Bundle.open(bundle.path).manifest.proof == "training"


def test_numpy_values_are_state(existing: Any, trained: Trained) -> None:
    state = {
        name: {
            key: np.asarray(value) if isinstance(value, list) else np.float64(value) for key, value in values.items()
        }
        for name, values in trained.pipeline.state.items()
    }
    assert existing(state={**state, "minutes": {"per_minute": np.float64(0.5)}}).digest == existing().digest


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("standardize_distance_km", None, "standardize_distance_km has no state for mean, std"),
        ("standardize_distance_km", {"mean": 1.0}, "standardize_distance_km has no state for std"),
        ("minutes", None, "minutes has no state for per_minute"),
        ("standardize_speed", {"mean": 1.0}, r"reads mean of 'standardize_speed'; there is .*minutes: per_minute"),
        ("minutes", {"per_minute": 1.0, "ddof": 1}, "nothing reads ddof of 'minutes'"),
        ("minutes", {"per_minute": float("nan")}, "per_minute of 'minutes' is nan"),
        ("one_hot_zone", {"categories": {"a": 1}}, "must be numbers, strings, booleans or lists"),
    ],
)
def test_state_that_does_not_fit(existing: Any, trained: Trained, name: str, value: Any, reason: str) -> None:
    state = {**trained.pipeline.state, "minutes": {"per_minute": 0.5}, name: value}
    with pytest.raises(DefinitionError, match=reason):
        existing(state={key: values for key, values in state.items() if values is not None})
