"""Train both versions of the model and write their bundles: v1 is linear, v2 are boosted trees."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from tandem import Bundle, Inputs, Pipeline, fit, matrix, write_bundle
from tandem.bundle_directory import find
from tandem.package import ModelPackage

from races import inputs_of, read_races
from simulate import HERE, TEN_MILES_KM, simulate

BUNDLES = HERE / "bundles"
SEED = 7
RIEGEL_EXPONENT = 1.06
"""P. S. Riegel, "Athletic Records and Human Endurance", American Scientist 69 (1981): time grows as distance^1.06."""
OTHER_DISTANCES_KM = (5.0, 10.0, 15.0, 21.0975)


@dataclass(frozen=True)
class Trained:
    """One version, trained and written.

    Attributes:
        bundle: The version.
        estimator: The model as scikit-learn has it.
        mean_absolute_error: In seconds, over races that it was not trained on.
    """

    bundle: Bundle
    estimator: Any
    mean_absolute_error: float


@dataclass(frozen=True)
class Data:
    """What versions are trained on and measured with.

    Attributes:
        races: All races.
        held_out: Which of them a model is not trained on; shape ``(races,)``.
        training: The others, and each of these athletes over another distance.
    """

    races: pd.DataFrame
    held_out: NDArray[np.bool_]
    training: pd.DataFrame

    @classmethod
    def make(cls) -> Data:
        """Make the tables and read them."""
        simulate()
        races = read_races()
        held_out = np.random.default_rng(SEED).random(len(races)) < 0.25
        training = pd.concat([races[~held_out], at_other_distances(races[~held_out])], ignore_index=True)
        return cls(races, held_out, training)


def estimators() -> dict[str, Any]:
    """Untrained estimators by the name of the version."""
    trees = HistGradientBoostingRegressor(
        max_iter=150, learning_rate=0.08, max_leaf_nodes=15, early_stopping=False, random_state=SEED
    )
    return {"v1": Ridge(alpha=1.0), "v2": trees}


def train(bundles: Path = BUNDLES) -> dict[str, Trained]:
    """Make the tables, train every version and write its bundle; older bundles of the same versions are removed.

    The same code gives the same bundles, bit for bit.

    Args:
        bundles: Where the bundles go.

    Returns:
        What was trained, by version.
    """
    data = Data.make()
    return {version: train_version(data, version, estimator, bundles) for version, estimator in estimators().items()}


def train_version(
    data: Data,
    version: str,
    estimator: Any,
    bundles: Path = BUNDLES,
    *,
    package: Path = HERE,
    usual_s: float = np.inf,
) -> Trained:
    """Train one version and write its bundle; older bundles of the same version are removed.

    Args:
        data: What it is trained on.
        version: Its name.
        estimator: Untrained.
        bundles: Where the bundle goes.
        package: The model package.
        usual_s: Golden rows are taken among those with a prediction of fewer seconds.
    """
    model = ModelPackage.read(package).load()
    races, held_out = data.races, data.held_out
    inputs, test = inputs_of(model, data.training), inputs_of(model, races[held_out])
    pipeline = fit(model, inputs)
    estimator.fit(matrix(pipeline, inputs), data.training["net_time_s"].to_numpy())
    errors = Errors.of(estimator.predict(matrix(pipeline, test)), races[held_out]["net_time_s"].to_numpy())
    bundle = _write(bundles, package, version, pipeline, estimator, errors, inputs_of(model, races), usual_s)
    _remove_others(bundles, bundle)
    return Trained(bundle, estimator, errors.mean_absolute)


def at_other_distances(races: pd.DataFrame) -> pd.DataFrame:
    """The same athletes over another distance each, with the time that Riegel's formula gives and some chance."""
    rng = np.random.default_rng(SEED)
    distance = rng.choice(OTHER_DISTANCES_KM, len(races))
    factor = (distance / TEN_MILES_KM) ** RIEGEL_EXPONENT * np.exp(rng.normal(0, 0.02, len(races)))
    return races.assign(distance_km=distance, net_time_s=races["net_time_s"] * factor)


@dataclass(frozen=True)
class Errors:
    """How far predictions are from real times.

    Attributes:
        mean_absolute: In seconds.
        below: A tenth of the real times is less than the prediction times this.
        above: A tenth of the real times is more than the prediction times this.
    """

    mean_absolute: float
    below: float
    above: float

    @classmethod
    def of(cls, predicted: NDArray[np.float64], real: NDArray[np.float64]) -> Errors:
        """Errors of predictions, shape ``(rows,)``."""
        below, above = np.quantile(real / predicted, [0.1, 0.9])
        return cls(float(np.abs(real - predicted).mean()), float(below), float(above))


def golden_rows(inputs: Inputs) -> Inputs:
    """Some sixty rows spread over all races, and athletes whose training is not recorded, or was long ago."""
    event_time = inputs.views[0].event_time
    missing = np.flatnonzero(np.isnat(event_time))
    stale = np.flatnonzero(inputs.as_of - event_time > np.timedelta64(7, "D"))
    spread = np.linspace(0, len(inputs) - 1, 48).astype(int)
    return inputs.take(np.concatenate([spread, missing[:8], stale[:8]]))


def _write(
    bundles: Path,
    package: Path,
    version: str,
    pipeline: Pipeline,
    estimator: Any,
    errors: Errors,
    races: Inputs,
    usual_s: float,
) -> Bundle:
    vectors = matrix(pipeline, races)
    predictions = estimator.predict(vectors)
    golden = golden_rows(races.take(np.flatnonzero(predictions < usual_s)))
    onnx = to_onnx(estimator, vectors[:1], name=f"time-estimator-{version}")
    return write_bundle(
        bundles,
        package=package,
        version=version,
        pipeline=pipeline,
        onnx=onnx.SerializeToString(),
        golden=golden,
        expected=estimator.predict(matrix(pipeline, golden)),
        postprocess_state={"finish_time_range": {"below": errors.below, "above": errors.above}},
        training_predictions=predictions,
    )


def _remove_others(bundles: Path, latest: Bundle) -> None:
    for bundle in find(bundles):
        if (bundle.name, bundle.version) == (latest.name, latest.version) and bundle.digest != latest.digest:
            shutil.rmtree(bundle.path)


def main() -> None:
    """Train, and say how good each version is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="?", default=BUNDLES, help="where the bundles go")
    for version, trained in train(parser.parse_args().bundles).items():
        print(f"{version}: mean absolute error {trained.mean_absolute_error:.0f} s, bundle {trained.bundle.wire_name}")


if __name__ == "__main__":
    main()
