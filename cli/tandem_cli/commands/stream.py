"""``tandem stream``: predict for the events of a Kafka topic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tandem import logs
from tandem_cli.errors import AdvisedError

BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", exists=True, file_okay=False, help="Directory of a bundle.")
]
SourceOption = Annotated[str, typer.Option(metavar="URL", help="Topic of the events: kafka://broker:9092/TOPIC.")]
SinkOption = Annotated[str, typer.Option(metavar="URL", help="Topic of the predictions, of the same cluster.")]
DeadLettersOption = Annotated[
    str, typer.Option(metavar="TOPIC", help="Topic of events that have no prediction; default: SINK-dead-letters.")
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
GroupOption = Annotated[str, typer.Option(help="Consumer group; default: tandem-MODEL-SINK.")]
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
    topic with the reason.

    Exit codes: 0 stopped, 1 the bundle, a topic or a broker refuses, 2 the command line is invalid.
    """
    try:
        # imported late: an extra
        from tandem_stream import StreamSettings, run
    except ModuleNotFoundError as error:
        raise AdvisedError(f"streams need {error.name}", advice="install tandem-cli[stream]") from None
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
