"""Feedback over HTTP: what turned out to be true about predictions.

``POST /v1/models/NAME:feedback``: ``{"feedback": [{"prediction_id": "…", "row": 0, "truth": 3301.0}, …]}``
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import numpy as np

from tandem.clock import utc_now
from tandem.dtypes import numpy_dtype
from tandem.errors import ContractViolation, RequestTooLarge, Violation
from tandem.oip.jsontext import not_json, refuse_repeated_keys
from tandem.prediction_log.records import LoggedFeedback

MAX_BYTES: Final = 65_536
"""Longest body: what is longer would hold up the event loop."""

_LARGEST: Final = float(np.finfo(np.float64).max)
_TRUTHS: Final[dict[str, Any]] = {
    "float64": Annotated[float, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)],
    "int64": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "string": str,
}
_PREDICTION_ID: Final = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}-[1-9][0-9]{0,11}$")]
_ROW: Final = Annotated[int, msgspec.Meta(ge=0, lt=2**24)]


class FeedbackReader:
    """Reads feedback about one model.

    Args:
        truth: Type of the prediction: ``float64``, ``int64`` or ``string``.
    """

    def __init__(self, truth: str) -> None:
        self._dtype = numpy_dtype(truth)
        item = msgspec.defstruct(
            "Item",
            [("prediction_id", _PREDICTION_ID), ("truth", _TRUTHS[truth]), ("row", _ROW, 0)],
            forbid_unknown_fields=True,
        )
        items = Annotated[list[item], msgspec.Meta(min_length=1)]  # type: ignore[valid-type]
        self._decoder = msgspec.json.Decoder(
            msgspec.defstruct("Feedback", [("feedback", items)], forbid_unknown_fields=True)
        )

    def read(self, body: bytes) -> LoggedFeedback:
        """Feedback out of a request's body.

        Raises:
            RequestTooLarge: it is longer than :data:`MAX_BYTES`.
            MalformedRequest: it is not JSON, or repeats a key.
            ContractViolation: naming what is wrong with it.
        """
        if len(body) > MAX_BYTES:
            raise RequestTooLarge(f"feedback is longer than {MAX_BYTES} bytes; send it in parts")
        try:
            items: list[Any] = self._decoder.decode(body).feedback  # type: ignore[attr-defined]
        except msgspec.ValidationError as error:
            raise ContractViolation([Violation(None, "feedback", str(error))]) from None
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise not_json(body, f"the body is not JSON: {error}") from None
        refuse_repeated_keys(body)
        ids = [item.prediction_id.partition("-") for item in items]
        truths = np.empty(len(items), self._dtype)
        truths[:] = [item.truth for item in items]
        return LoggedFeedback(
            writers=[writer for writer, _, _ in ids],
            numbers=[int(number) for _, _, number in ids],
            indices=[item.row for item in items],
            truths=truths,
            time=utc_now(),
        )
