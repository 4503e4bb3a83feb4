"""A transformer's parts without its sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tandem import Bundle
from tandem.stores import OnlineStore
from tandem_transformer.config import TransformerConfig
from tandem_transformer.metrics import Recorder
from tandem_transformer.prediction_log.metrics import open_log
from tandem_transformer.predictors import PredictorClient
from tandem_transformer.predictors.inprocess import InProcessPredictor
from tandem_transformer.service import Service

from . import world


def make_service(
    bundle: Bundle,
    *,
    store: OnlineStore | None = None,
    predictor: PredictorClient | None = None,
    simpler: PredictorClient | None = None,
    **settings: Any,
) -> Service:
    """A service; its store is in memory and its predictor in this process, unless others are given."""
    config = TransformerConfig(model_dir=Path(bundle.path), predictor_protocol="inprocess", **settings)
    model_name = config.model_name or bundle.name
    recorder = Recorder(bundle, model_name)
    return Service(
        bundle,
        store or world.memory_store(),
        predictor or InProcessPredictor(bundle),
        config,
        recorder,
        open_log(bundle, model_name, config, recorder),
        simpler,
    )
