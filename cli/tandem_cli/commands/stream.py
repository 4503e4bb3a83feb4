"""``tandem stream``: predict for the events of a Kafka topic, or compute windows of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from tandem import logs
from tandem_cli.errors import AdvisedError


class _ModelByDefault(TyperGroup):
    """``tandem stream BUNDLE …`` is ``tandem stream model BUNDLE …``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command where there is none."""
        return super().parse_args(ctx, args if args and args[0] in self.commands else ["model", *args])


commands = typer.Typer(cls=_ModelByDefault, help="Predict for the events of a Kafka topic, or compute windows of them.")

BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", exists=True, file_okay=False, help="Directory of a bundle.")
]
SourceOption = Annotated[str, typer.Option(metavar="URL", help="Topic of the events: kafka://broker:9092/TOPIC.")]
SinkOption = Annotated[str, typer.Option(metavar="URL", help="Topic of the results, of the same cluster.")]
DeadLettersOption = Annotated[
    str, typer.Option(metavar="TOPIC", help="Topic of events that are rejected; default: SINK-dead-letters.")
]
StoreOption = Annotated[
    str, typer.Option(metavar="URL", envvar="TANDEM_STORE", help="Online store, such as redis://localhost:6379/0.")
]
StoreOutageOption = Annotated[
    Literal["pause", "degrade"], typer.Option(help="What to do while the store does not answer.")
]
PredictorOption = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Predictor; default: the model runs in this process.")
]
DeliveryOption = Annotated[
    Literal["exactly-once", "at-least-once"], typer.Option(help="How often each event's prediction is delivered.")
]
FormatOption = Annotated[Literal["json", "cloudevents", "avro"], typer.Option(help="What the events are.")]
RegistryOption = Annotated[str, typer.Option(metavar="URL", help="Schema registry, for --format avro.")]
UnknownFieldsOption = Annotated[
    Literal["reject", "ignore"], typer.Option(help="What becomes of events with fields that the contract lacks.")
]
CopyFieldOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FIELD", help="Field of the event that its prediction repeats; may be given again."),
]
GroupOption = Annotated[str, typer.Option(help="Consumer group; default: tandem-NAME-SINK, of model or view.")]
InstanceOption = Annotated[
    str, typer.Option(help="Name of this worker, the same after a restart; default: the name of the host.")
]
MaxRowsOption = Annotated[int, typer.Option(min=1, help="Most events of one batch.")]
MaxWaitOption = Annotated[float, typer.Option(min=1, help="Milliseconds for which a batch waits for its events.")]
PropertiesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", exists=True, dir_okay=False, help="Further properties of Kafka's clients, name=value."
    ),
]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of health and metrics; 0: any free one.")]
ModelArgument = Annotated[
    Path, typer.Argument(metavar="PATH", exists=True, file_okay=False, help="A bundle or a model package.")
]
ViewArgument = Annotated[
    str, typer.Argument(metavar="VIEW", help="Feature view; default: the only one that has a window.")
]
ChangelogOption = Annotated[
    str, typer.Option(metavar="TOPIC", help="Compacted topic of the windows' state; default: SINK-changelog.")
]
LateEventsOption = Annotated[
    str, typer.Option(metavar="TOPIC", help="Topic of events that come too late; by default they are counted only.")
]
MaxAheadOption = Annotated[
    float, typer.Option(min=0, help="Reject events that are more seconds ahead of their record; 0: none.")
]
StoreTtlOption = Annotated[float, typer.Option(min=0, help="Seconds after which rows of the store expire; 0: never.")]
TableOption = Annotated[str, typer.Option(metavar="DIR", help="Table of the closed windows; by default none.")]
TableFormatOption = Annotated[Literal["parquet", "delta"], typer.Option(help="What the table is.")]
TableWaitOption = Annotated[float, typer.Option(min=0.1, help="Seconds after which the table is appended to.")]


@commands.command("features")
def stream_features(
    path: ModelArgument,
    source: SourceOption,
    sink: SinkOption,
    view: ViewArgument = "",
    store: StoreOption = "",
    store_ttl_s: StoreTtlOption = 0.0,
    table: TableOption = "",
    table_format: TableFormatOption = "parquet",
    table_max_wait_s: TableWaitOption = 60.0,
    changelog: ChangelogOption = "",
    dead_letters: DeadLettersOption = "",
    late_events: LateEventsOption = "",
    max_ahead_s: MaxAheadOption = 0.0,
    format: FormatOption = "json",
    schema_registry: RegistryOption = "",
    unknown_fields: UnknownFieldsOption = "ignore",
    group: GroupOption = "",
    instance: InstanceOption = "",
    max_rows: MaxRowsOption = 10_000,
    max_wait_ms: MaxWaitOption = 50.0,
    kafka_properties: PropertiesOption = None,
    port: PortOption = 8080,
) -> None:
    """Compute the windows of a feature view from the events of a Kafka topic, until SIGTERM or Ctrl-C.

    Each event counts exactly once. Closed windows go to a topic, to the online store and to a table. Workers with
    different names share the partitions.

    Exit codes: 0 stopped, 1 the view, a topic or a broker refuses, 2 the command line is invalid.
    """
    with _extra():
        # imported late: an extra
        from tandem_stream import WindowSettings, run_windows
    settings = WindowSettings(
        model_dir=path,
        view=view,
        source=source,
        sink=sink,
        dead_letters=dead_letters,
        changelog=changelog,
        late_events=late_events,
        max_ahead_s=max_ahead_s,
        store=store,
        store_ttl_s=store_ttl_s,
        table=table,
        table_format=table_format,
        table_max_wait_s=table_max_wait_s,
        format=format,
        schema_registry=schema_registry,
        unknown_fields=unknown_fields,
        group=group,
        instance=instance,
        max_batch_rows=max_rows,
        max_batch_wait_ms=max_wait_ms,
        kafka_properties=kafka_properties,
        http_port=port,
    )
    logs.configure()
    run_windows(settings)


@commands.command("model")
def stream_model(
    path: BundleArgument,
    source: SourceOption,
    sink: SinkOption,
    dead_letters: DeadLettersOption = "",
    store: StoreOption = "memory://",
    store_outage: StoreOutageOption = "pause",
    predictor: PredictorOption = "",
    delivery: DeliveryOption = "exactly-once",
    format: FormatOption = "json",
    schema_registry: RegistryOption = "",
    unknown_fields: UnknownFieldsOption = "reject",
    copy_field: CopyFieldOption = None,
    group: GroupOption = "",
    instance: InstanceOption = "",
    max_rows: MaxRowsOption = 2000,
    max_wait_ms: MaxWaitOption = 50.0,
    kafka_properties: PropertiesOption = None,
    port: PortOption = 8080,
) -> None:
    """Predict for the events of a Kafka topic, each exactly once, until SIGTERM or Ctrl-C.

    Workers with different names share the partitions. Events that break the contract go to the dead-letter
    topic with the reason. `tandem stream features` computes the windows of a feature view.

    Exit codes: 0 stopped, 1 the bundle, a topic or a broker refuses, 2 the command line is invalid.
    """
    with _extra():
        # imported late: an extra
        from tandem_stream import StreamSettings, run
    settings = StreamSettings(
        model_dir=path,
        source=source,
        sink=sink,
        dead_letters=dead_letters,
        store=store,
        store_outage=store_outage,
        predictor_host=predictor,
        delivery=delivery,
        format=format,
        schema_registry=schema_registry,
        unknown_fields=unknown_fields,
        copied_fields=tuple(copy_field or ()),
        group=group,
        instance=instance,
        max_batch_rows=max_rows,
        max_batch_wait_ms=max_wait_ms,
        kafka_properties=kafka_properties,
        http_port=port,
    )
    logs.configure()
    run(settings)


@contextmanager
def _extra() -> Iterator[None]:
    """Within the block, packages of an extra are imported."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise AdvisedError(f"streams need {error.name}", advice="install tandem-cli[stream]") from None
