"""A worker that predicts, from its settings: the bundle, what predicts with it, and the topics it stands between."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from tandem.bundle import Bundle
from tandem.errors import DefinitionError, StoreError
from tandem.features import FeatureView
from tandem.golden import replay_vectors
from tandem.stores import open_store
from tandem_stream.answers import AnswerWriter
from tandem_stream.composition import compose_messages
from tandem_stream.dead_letters import DeadLetters
from tandem_stream.formats import open_decoder
from tandem_stream.lookups import Get, Lookups
from tandem_stream.metrics import Metrics
from tandem_stream.predictors import RemotePredictor, load_model
from tandem_stream.scoring import Predict, Scored, Scorer
from tandem_stream.sessions import Clients, serve
from tandem_stream.settings import StreamSettings
from tandem_stream.topics import Topic
from tandem_stream.worker import Worker


def run(settings: StreamSettings) -> None:
    """Predict for the records of a topic until SIGTERM or SIGINT; then the batch that is worked on is finished.

    Raises:
        TandemError: the bundle is refused, a topic or a broker refuses, or another worker has taken over.
        OSError: the port of health and metrics is taken.
    """
    source, sink, dead_letters = settings.topics()
    bundle = Bundle.open(settings.model_dir)
    metrics = Metrics(bundle)
    with ExitStack() as stack:
        scorer = _scorer(bundle, settings, sink, stack)
        group = settings.group_of(bundle.name, sink)
        clients = Clients(settings, group, source, is_transactional=settings.delivery == "exactly-once")
        letters = DeadLetters(dead_letters.name, ("tandem-model", bundle.wire_name), settings.max_message_bytes)
        compose = partial(compose_messages, scorer.writer, letters)
        worker: Worker[Scored] = Worker(lambda: clients.open(worker.is_stopping), scorer.score, compose, metrics)
        serve(
            worker,
            settings,
            metrics,
            lambda: clients.check([source.name, sink.name, dead_letters.name]),
            {"bundle": bundle.wire_name, "version": bundle.version},
        )


def _scorer(bundle: Bundle, settings: StreamSettings, sink: Topic, stack: ExitStack) -> Scorer:
    if strange := set(settings.copied_fields) - set(bundle.contract.inputs):
        raise DefinitionError(f"the contract of {bundle.name} has no field {', '.join(sorted(strange))}")
    lookups = Lookups(
        bundle.model.views,
        _store(settings.store, [use.view for use in bundle.model.views]),
        outage=settings.store_outage,
        known_bytes=settings.last_known_bytes,
    )
    writer = AnswerWriter(bundle, sink.name, form=settings.format, copied_fields=settings.copied_fields)
    scorer = Scorer(
        bundle,
        decoder=open_decoder(bundle.contract, settings),
        lookups=lookups,
        predict=_predict(bundle, settings, stack),
        writer=writer,
    )
    # nothing may be predicted by code that does not compute what training did
    replay_vectors(scorer.pipeline, bundle.golden_inputs())
    return scorer


def _predict(bundle: Bundle, settings: StreamSettings, stack: ExitStack) -> Predict:
    if not settings.predictor_host:
        return load_model(bundle, settings.threads)
    predictor = RemotePredictor(bundle, settings.predictor_host, settings.predictor_timeout_ms / 1000)
    stack.callback(predictor.close)
    return predictor


def _store(url: str, views: Sequence[FeatureView]) -> Get:
    store: Any = open_store(url, views)
    if not hasattr(store, "get_now"):
        raise StoreError("this store cannot be read without an event loop")
    get: Get = store.get_now
    return get
