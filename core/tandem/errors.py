"""Every error that Tandem raises on purpose.

TandemError
├── DefinitionError        a declaration in a model package is not valid; found at import or by `tandem check`
├── BundleError            a bundle is corrupt, truncated, foreign, or does not fit this image
├── LogError               a prediction log cannot be read, or lacks what is asked of it
├── StoreError             an online store cannot be written or read
│   ├── SnapshotError      a snapshot is damaged, or has other feature views
│   └── UnreadableRows     some of the rows that it holds cannot be read
├── StateError             the state of a view's windows cannot be read, or is of another definition
└── RequestError           an error in the answer to a client, with a status and a code
    ├── MalformedRequest   400  cannot be parsed
    ├── Unauthenticated    401  no token, or another one
    ├── NotFound           404  no such model, version or entity
    ├── MethodNotAllowed   405
    ├── UploadTimeout      408  the request did not arrive in time
    ├── RequestTooLarge    413
    ├── UnsupportedMedia   415
    ├── ContractViolation  422  parsed, but breaks the contract
    ├── Overloaded         429  the bounded queue is full
    ├── HeadTooLarge       431
    ├── Internal           500
    ├── Unavailable        503  store or predictor cannot be reached
    └── DeadlineExceeded   504
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class TandemError(Exception):
    """Root of the tree."""


class DefinitionError(TandemError):
    """A contract, feature view, transform or model is declared wrongly."""


class BundleError(TandemError):
    """A bundle is refused; the message says which file and why."""


class LogError(TandemError):
    """A prediction log cannot be read, or does not have what is asked of it."""


class StoreError(TandemError):
    """An online store refused a read or a write."""


class SnapshotError(StoreError):
    """A snapshot cannot be read or written; the message says which file and why."""


class UnreadableRows(StoreError):
    """Stored rows that are damaged or of another layout, among others that may be sound.

    Attributes:
        rows: Their indices in the batch that was looked up, ascending.
    """

    def __init__(self, message: str, rows: Sequence[int]) -> None:
        super().__init__(message)
        self.rows = list(rows)


class StateError(TandemError):
    """The state of a feature view's windows cannot be read, or belongs to another definition of the view."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule of the contract.

    Attributes:
        row: Index of the row within the request, from 0; None where the whole request is meant.
        field: Name of the contract's field.
        rule: What the contract demands, in words: ``"must be >= 120"``.
    """

    row: int | None
    field: str
    rule: str

    def as_dict(self) -> dict[str, Any]:
        """The form in which a client sees it."""
        return {"row": self.row, "field": self.field, "rule": self.rule}


class RequestError(TandemError):
    """An error in the answer to a client. Subclasses fix the HTTP status; ``code`` is stable and documented.

    Attributes:
        status: HTTP status.
        grpc_status: Name of the gRPC status code.
        code: Machine-readable reason in snake case.
        details: Further facts, JSON-encodable; violations for 422.
        retry_after: Seconds after which a retry makes sense, or None.
    """

    status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Sequence[dict[str, Any]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.details = list(details)
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """JSON body of the answer: ``error`` is a string, as KServe's and Triton's clients expect."""
        body: dict[str, Any] = {"error": str(self), "code": self.code}
        if self.details:
            body["details"] = self.details
        return body


class MalformedRequest(RequestError):
    """The request cannot be parsed."""

    status = 400
    grpc_status = "INVALID_ARGUMENT"
    default_code = "malformed_request"


class Unauthenticated(RequestError):
    """The request lacks the token that it needs."""

    status = 401
    grpc_status = "UNAUTHENTICATED"
    default_code = "unauthenticated"


class NotFound(RequestError):
    """No such model, version or entity."""

    status = 404
    grpc_status = "NOT_FOUND"
    default_code = "model_not_found"


class MethodNotAllowed(RequestError):
    """The path takes other methods.

    Attributes:
        allowed: These, with commas between: the value of ``Allow``.
    """

    status = 405
    grpc_status = "UNIMPLEMENTED"
    default_code = "method_not_allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not allowed here; use {allowed}")
        self.allowed = allowed


class UploadTimeout(RequestError):
    """The request did not arrive as a whole within the time that it has for that."""

    status = 408
    grpc_status = "DEADLINE_EXCEEDED"
    default_code = "upload_timeout"


class RequestTooLarge(RequestError):
    """The body is longer than this server takes."""

    status = 413
    grpc_status = "RESOURCE_EXHAUSTED"
    default_code = "request_too_large"


class UnsupportedMedia(RequestError):
    """This endpoint does not read the content type."""

    status = 415
    grpc_status = "INVALID_ARGUMENT"
    default_code = "unsupported_media_type"


class ContractViolation(RequestError):
    """The request was parsed but breaks the contract; ``details`` has a violation for each broken rule."""

    status = 422
    grpc_status = "INVALID_ARGUMENT"
    default_code = "contract_violation"

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        where = f"row {first.row}, " if first.row is not None else ""
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(
            f"{where}field {first.field!r}: {first.rule}{more}",
            details=[violation.as_dict() for violation in violations],
        )
        self.violations = list(violations)


class Overloaded(RequestError):
    """More work is waiting than this server is allowed to hold."""

    status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    default_code = "overloaded"


class HeadTooLarge(RequestError):
    """The request line and the headers are longer than this server takes."""

    status = 431
    grpc_status = "RESOURCE_EXHAUSTED"
    default_code = "head_too_large"


class Internal(RequestError):
    """A fault of the server or of the model package."""


class Unavailable(RequestError):
    """Store or predictor cannot be reached, or the server is starting or stopping."""

    status = 503
    grpc_status = "UNAVAILABLE"
    default_code = "unavailable"


class DeadlineExceeded(RequestError):
    """No answer within the time that the request had."""

    status = 504
    grpc_status = "DEADLINE_EXCEEDED"
    default_code = "deadline_exceeded"
