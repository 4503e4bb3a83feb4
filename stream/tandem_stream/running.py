"""A worker from its settings: the bundle, what predicts with it, and the topics it stands between."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from confluent_kafka import KafkaException

from tandem.bundle import Bundle
from tandem.errors import DefinitionError, StoreError
from tandem.features import FeatureView
from tandem.golden import replay_vectors
from tandem.stores import open_store
from tandem_stream.answers import AnswerWriter
from tandem_stream.clients import Patience, consumer_properties, producer_properties
from tandem_stream.cloudevents import CloudEventDecoder
from tandem_stream.composition import compose_messages
from tandem_stream.dead_letters import DeadLetters
from tandem_stream.decoding import Decoder, JsonDecoder
from tandem_stream.deliveries import AtLeastOnce, ExactlyOnce
from tandem_stream.health import HealthServer
from tandem_stream.lookups import Get, Lookups
from tandem_stream.metrics import Metrics
from tandem_stream.predictors import RemotePredictor, load_model
from tandem_stream.scoring import Predict, Scorer
from tandem_stream.settings import StreamSettings
from tandem_stream.source import Source, check_topics
from tandem_stream.topics import StreamError, Topic, parse_properties
from tandem_stream.worker import Session, Worker

log = logging.getLogger(__name__)


def run(settings: StreamSettings) -> None:
    """Predict for the records of a topic until SIGTERM or SIGINT; then the batch that is worked on is finished.

    Raises:
        TandemError: the bundle is refused, a topic or a broker refuses, or another worker has taken over.
        OSError: the port of health and metrics is taken.
    """
    source, sink, dead_letters = settings.topics()
    if source.brokers != sink.brokers:
        raise StreamError("source and sink must be topics of one cluster, by the same addresses")
    bundle = Bundle.open(settings.model_dir)
    metrics = Metrics(bundle)
    with ExitStack() as stack:
        scorer = _scorer(bundle, settings, sink, stack)
        clients = _Clients(settings, bundle.name, (source, sink, dead_letters))

        letters = DeadLetters(dead_letters.name, bundle.wire_name, settings.max_message_bytes)
        compose = partial(compose_messages, scorer.writer, letters)
        worker = Worker(lambda: clients.open(worker), scorer.score, compose, metrics)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        health = HealthServer(settings.host, settings.http_port, lambda: worker.is_ready, metrics.page)
        stack.callback(health.close)
        clients.check()
        log.info("ready", extra={"bundle": bundle.wire_name, "version": bundle.version, "http_port": health.port})
        worker.run()
        log.info("stopped")


class _Clients:
    """Opens the clients of Kafka that settings ask for."""

    def __init__(self, settings: StreamSettings, model: str, topics: tuple[Topic, Topic, Topic]) -> None:
        self._settings = settings
        self._source, *self._written = topics
        group, instance = settings.group_of(model, self._written[0]), settings.instance_name()
        brokers, properties = self._source.brokers, _properties(settings)
        self._consumer = consumer_properties(
            brokers, properties, group=group, instance=instance, session_s=settings.session_timeout_s
        )
        transactional_id = f"{group}-{instance}" if settings.delivery == "exactly-once" else None
        self._producer = producer_properties(
            brokers, properties, transactional_id=transactional_id, max_bytes=settings.max_message_bytes
        )

    def check(self) -> None:
        """Refuse topics that do not exist.

        Raises:
            StreamError: naming them, or saying that no broker answers.
        """
        names = [topic.name for topic in (self._source, *self._written)]
        try:
            missing = check_topics(self._consumer, names)
        except KafkaException as exception:
            raise StreamError(f"{self._source.brokers}: {exception.args[0].str()}") from exception
        if missing:
            raise StreamError(f"{self._source.brokers} has no topic {', '.join(missing)}")

    def open(self, worker: Worker) -> Session:
        """Clients that stop to wait for a broker when the worker stops.

        Raises:
            StreamError: a property is refused, or the broker refuses.
        """
        try:
            return self._open(worker)
        except KafkaException as exception:
            raise StreamError(exception.args[0].str()) from exception

    def _open(self, worker: Worker) -> Session:
        settings = self._settings
        source = Source(
            self._source.name,
            self._consumer,
            max_rows=settings.max_batch_rows,
            max_wait_s=settings.max_batch_wait_ms / 1000,
        )
        kind = ExactlyOnce if settings.delivery == "exactly-once" else AtLeastOnce
        try:
            # positions are read with the first poll, after the producer has ended what a worker of this name left open
            delivery = kind(self._producer, source, Patience(worker.is_stopping, settings.shutdown_grace_s))
        except BaseException:
            source.close()
            raise
        return Session(source, delivery)


def _scorer(bundle: Bundle, settings: StreamSettings, sink: Topic, stack: ExitStack) -> Scorer:
    if strange := set(settings.copied_fields) - set(bundle.contract.inputs):
        raise DefinitionError(f"the contract of {bundle.name} has no field {', '.join(sorted(strange))}")
    rows = JsonDecoder(bundle.contract, unknown_fields=settings.unknown_fields)
    lookups = Lookups(
        bundle.model.views,
        _store(settings.store, [use.view for use in bundle.model.views]),
        outage=settings.store_outage,
        known_bytes=settings.last_known_bytes,
    )
    writer = AnswerWriter(bundle, sink.name, form=settings.format, copied_fields=settings.copied_fields)
    scorer = Scorer(
        bundle,
        decoder=_decoder(rows, settings),
        lookups=lookups,
        predict=_predict(bundle, settings, stack),
        writer=writer,
    )
    # nothing may be predicted by code that does not compute what training did
    replay_vectors(scorer.pipeline, bundle.golden_inputs())
    return scorer


def _decoder(rows: JsonDecoder, settings: StreamSettings) -> Decoder:
    if settings.format == "avro":
        return _avro_decoder(rows, settings.schema_registry)
    return CloudEventDecoder(rows) if settings.format == "cloudevents" else rows


def _avro_decoder(rows: JsonDecoder, registry: str) -> Decoder:
    try:
        # imported late: an extra
        from tandem_stream.avro import AvroDecoder, SchemaRegistry
    except ModuleNotFoundError as error:
        raise DefinitionError(f"Avro needs {error.name}; install tandem-stream[avro]") from None
    return AvroDecoder(rows, SchemaRegistry(registry).fetch)


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


def _properties(settings: StreamSettings) -> dict[str, str]:
    if settings.kafka_properties is None:
        return {}
    try:
        return parse_properties(settings.kafka_properties.read_text())
    except OSError as error:
        raise StreamError(f"{settings.kafka_properties}: {error.strerror}") from None
