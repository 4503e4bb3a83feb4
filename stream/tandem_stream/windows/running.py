"""A worker that computes windows, from its settings: the view, its state, and the topics, store and table it writes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from tandem.bundle import Bundle
from tandem.errors import DefinitionError
from tandem.features import FeatureView
from tandem.fields import Field
from tandem.manifest import MANIFEST
from tandem.package import ModelPackage
from tandem.windows.layout import WindowLayout
from tandem_stream.clients import consumer_properties, shared_properties
from tandem_stream.dead_letters import DeadLetters
from tandem_stream.formats import open_decoder
from tandem_stream.sessions import Clients, serve
from tandem_stream.source import Source
from tandem_stream.windows.changelog import Changelog, check_changelog
from tandem_stream.windows.closed import VIEW, WindowMessages
from tandem_stream.windows.counting import Counted, WindowComposer, WindowCounter
from tandem_stream.windows.events import EventReader, event_contract
from tandem_stream.windows.metrics import WindowMetrics
from tandem_stream.windows.online import open_writer
from tandem_stream.windows.settings import WindowSettings
from tandem_stream.windows.states import PartitionStates
from tandem_stream.worker import Session, Worker

# open windows are many small objects without cycles, and looking through them all takes a quarter of the time
_GC_THRESHOLDS = (100_000, 50, 1000)
_TABLE_POLL_S = 0.2
_TABLE_POLL_ROWS = 10_000


def run_windows(settings: WindowSettings) -> None:
    """Compute the windows of a feature view until SIGTERM or SIGINT; then the batch that is worked on is finished.

    Raises:
        TandemError: there is no such view, a topic or a broker refuses, or another worker has taken over.
        OSError: the port of health and metrics is taken.
    """
    gc.set_threshold(*_GC_THRESHOLDS)
    source, sink, _ = settings.topics()
    view, keys = find_view(settings.model_dir, settings.view)
    layout = WindowLayout(view)
    metrics = WindowMetrics(view)
    clients = Clients(settings, settings.group_of(view.name, sink), source, is_transactional=True)
    reader = _reader(layout, keys, settings)
    with ExitStack() as stack:
        worker = _worker(settings, layout, reader, clients, metrics, stack)

        def prepare() -> None:
            _check_topics(settings, clients)
            _append(settings, layout, metrics, stack)

        serve(worker, settings, metrics, prepare, {"view": view.name, "version": view.version})


def find_view(path: Path, name: str = "") -> tuple[FeatureView, dict[str, Field]]:
    """A feature view of a model, and for each of its keys the field of the contract.

    Args:
        path: A bundle, of which no code is run, or a model package.
        name: Of the view; empty for the only one that has a window.

    Raises:
        DefinitionError: if there is no such view, or it has no window.
        BundleError: if it is no bundle.
    """
    if (path / MANIFEST).is_file():
        bundle = Bundle.open(path)
        uses, fields = bundle.manifest.views, bundle.contract.serving_keys
    else:
        model = ModelPackage.read(path).load()
        uses, fields = model.views, model.contract.serving_keys
    # a view that is used several times has keys of one type
    views = {use.view.name: use for use in uses if use.view.window is not None}
    if name not in views and (name or len(views) != 1):
        names = ", ".join(views) or "none"
        raise DefinitionError(f"{path}: name a feature view that has a window, not {name!r}; there are {names}")
    use = views[name] if name else next(iter(views.values()))
    return use.view, {key: fields[field] for key, field in zip(use.view.keys, use.serving_keys, strict=True)}


def _reader(layout: WindowLayout, keys: Mapping[str, Field], settings: WindowSettings) -> EventReader:
    contract = event_contract(layout, keys)
    return EventReader(layout, contract, open_decoder(contract, settings), max_ahead_s=settings.max_ahead_s)


def _worker(
    settings: WindowSettings,
    layout: WindowLayout,
    reader: EventReader,
    clients: Clients,
    metrics: WindowMetrics,
    stack: ExitStack,
) -> Worker[Counted]:
    _, sink, dead_letters = settings.topics()
    view, topic = layout.view, settings.changelog_topic(sink).name
    changelog = Changelog(topic, clients.consumer, lambda: worker.is_stopping())
    stack.callback(changelog.close)
    states = PartitionStates(layout, changelog.read)
    store = open_writer(view, settings.store, settings.store_ttl_s) if settings.store else None
    if store is not None:
        stack.callback(store.close)
    counter = WindowCounter(reader, states, store)
    letters = DeadLetters(dead_letters.name, (VIEW, view.name), settings.max_message_bytes)
    composer = WindowComposer(topic, settings.late_events, WindowMessages(layout, sink.name), letters)

    def open_session() -> Session:
        # whatever is known of partitions is read again
        states.clear()
        return clients.open(worker.is_stopping, states.drop)

    worker: Worker[Counted] = Worker(open_session, counter.count, composer.compose, metrics, counter.settle)
    return worker


def _check_topics(settings: WindowSettings, clients: Clients) -> None:
    source, sink, dead_letters = settings.topics()
    changelog = settings.changelog_topic(sink)
    names = [source.name, sink.name, changelog.name, dead_letters.name, settings.late_events]
    clients.check([name for name in names if name])
    check_changelog(shared_properties(source.brokers, settings.properties()), source.name, changelog.name)


def _append(settings: WindowSettings, layout: WindowLayout, metrics: WindowMetrics, stack: ExitStack) -> None:
    """Append to the table from now on, until the stack is closed."""
    if not settings.table:
        return
    try:
        # imported late: an extra
        from tandem_stream.windows.appending import TableAppender
        from tandem_stream.windows.tables import open_window_table
    except ModuleNotFoundError as error:
        raise DefinitionError(f"a table needs {error.name}; install tandem-stream[table]") from None
    _, sink, _ = settings.topics()
    group = f"{settings.group_of(layout.view.name, sink)}-table"
    properties = consumer_properties(
        sink.brokers,
        settings.properties(),
        group=group,
        instance=settings.instance_name(),
        session_s=settings.session_timeout_s,
    )

    def open_source(begin: Callable[[int], int]) -> Source:
        return Source(sink.name, properties, max_rows=_TABLE_POLL_ROWS, max_wait_s=_TABLE_POLL_S, begin=begin)

    appender = TableAppender(
        open_window_table(settings.table, settings.table_format, sink.name),
        layout,
        open_source,
        metrics,
        max_rows=settings.table_max_rows,
        max_wait_s=settings.table_max_wait_s,
    )
    stack.callback(appender.close)
    appender.start()
