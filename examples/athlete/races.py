"""The tables of the example, joined as a model reads them: each race with what was stored about its athlete."""

from __future__ import annotations

import pandas as pd
from tandem import Inputs, Model, inputs_from_table

from simulate import PROFILE, RACES, TRAINING_LOAD


def read_races() -> pd.DataFrame:
    """All races, a row for each finisher, with the columns of both feature views; NaT where a view has no row."""
    races = pd.read_parquet(RACES)
    for view, file in (("training_load", TRAINING_LOAD), ("profile", PROFILE)):
        stored = pd.read_parquet(file).rename(columns={"event_time": f"{view}_event_time"})
        races = races.merge(stored, on="athlete_id", how="left", validate="one_to_one")
    return races


def inputs_of(model: Model, races: pd.DataFrame) -> Inputs:
    """Inputs of the model for the given races."""
    return inputs_from_table(model, races)
