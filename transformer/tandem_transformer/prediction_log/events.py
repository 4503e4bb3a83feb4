"""Records as CloudEvents 1.0, one for each: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tandem.prediction_log.blocks import Kind
from tandem.prediction_log.fields import documents, feedback_documents
from tandem.prediction_log.records import Records

_TYPES: Final[dict[Kind, str]] = {
    "predictions": "io.tandem-serving.prediction",
    "feedback": "io.tandem-serving.feedback",
}


def events(kind: Kind, records: Records) -> Iterator[dict[str, Any]]:
    """Events of some records.

    The id of an event is that of its prediction and the row, and is the same however often the event is delivered: who
    receives it twice can tell. Feedback has its time in the id too, since there may be several about one prediction.
    """
    schema = records.schema
    source = f"/models/{schema.model}/versions/{schema.version}"
    for document in documents(records) if kind == "predictions" else feedback_documents(records):
        event_id = f"{document['prediction_id']}:{document['row']}"
        yield {
            "specversion": "1.0",
            "id": event_id if kind == "predictions" else f"{event_id}:{document['time']}",
            "source": source,
            "type": _TYPES[kind],
            "subject": document["prediction_id"],
            "time": document["time"],
            "datacontenttype": "application/json",
            "data": document,
        }
