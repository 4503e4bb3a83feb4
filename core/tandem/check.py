"""The checks of `tandem check` on a model package, before anything is trained or served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from tandem.bundle import Bundle
from tandem.compatibility import compare
from tandem.contract import Contract, Prediction
from tandem.dtypes import Column, Columns, array_length, element_type, numpy_dtype
from tandem.errors import TandemError
from tandem.evaluation import as_answer_column, evaluate
from tandem.fitting import fit_state
from tandem.inputs import Inputs
from tandem.model import Model, age_column, input_name
from tandem.package import ModelPackage
from tandem.pipeline import Pipeline
from tandem.row_independence import check_row_independence
from tandem.rows import RowReader
from tandem.sampling import random_inputs, random_rows
from tandem.signature import Signature, describe_columns
from tandem.training import draft_signature
from tandem.transforms import BoundTransform, Postprocess, State, Transform

Status = Literal["ok", "warning", "failed"]

ROWS = 256
"""Random rows over which every transform runs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        name: What was checked: ``package``, ``contract``, ``signature``, the name of a transform or of a field.
        status: A package with a finding that is ``failed`` must not be trained or served.
        message: The result, in words.
    """

    name: str
    status: Status
    message: str


def check(package: ModelPackage, *, against: Bundle | None = None, seed: int = 0) -> list[Finding]:
    """Check a model package.

    Args:
        package: The package.
        against: The version that is served at present, whose clients must not be affected.
        seed: Of the random rows.

    Returns:
        The findings, in the order of the path of a request.
    """
    try:
        model = package.load()
    except TandemError as error:
        return [Finding("package", "failed", str(error))]
    findings = [Finding("package", "ok", f"{package.entry_point} is model {model.name!r}")]
    if against is None:
        return findings + check_model(model, seed=seed)
    return findings + check_model(model, against=against.contract, postprocess_state=against.manifest.state, seed=seed)


def check_model(
    model: Model,
    *,
    against: Contract | None = None,
    postprocess_state: Mapping[str, State] | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Check a model that is imported already; see :func:`check`.

    Args:
        model: The model.
        against: The contract that must be kept.
        postprocess_state: State of post-processing steps, as far as it is known; a step that lacks state is not run.
        seed: Of the random rows.
    """
    rng = np.random.default_rng(seed)
    findings = [_check_contract(model, rng), *_unused(model)]
    trial = _Trial(model, postprocess_state or {}, rng)
    findings += trial.run()
    if all(finding.status != "failed" for finding in findings):
        findings.append(_check_signature(trial.pipeline, trial.state, rng))
    if against is not None:
        findings += _check_compatibility(against, model.contract)
    return findings


def _check_contract(model: Model, rng: np.random.Generator) -> Finding:
    contract = model.contract
    reader = RowReader(contract)
    rows = random_rows(model, ROWS, rng)
    try:
        msgspec.json.encode([contract.row_schema(), contract.answer_schema()])
        msgspec.json.decode(msgspec.json.encode(rows), type=list[reader.row_type])  # type: ignore[name-defined]
    except (TypeError, ValueError) as error:
        return Finding("contract", "failed", f"rows that obey the contract are refused: {error}")
    required = [name for name, field in contract.inputs.items() if field.required]
    message = f"{len(contract.inputs)} fields in ({', '.join(required)} required), {len(contract.answers)} out"
    return Finding("contract", "ok", message)


def _unused(model: Model) -> Iterator[Finding]:
    """Warnings about fields and features that nothing reads."""
    transforms: list[Transform] = [*model.on_demand, *model.model_dependent, *model.postprocess]
    read = {name for transform in transforms for name in transform.inputs}
    read |= {input_name(source) for inputs in model.inputs.values() for source in inputs}
    read |= {name for mask, name in model.masks.items() if mask in read}
    keys = {key for use in model.views for key in use.serving_keys}
    for name in model.contract.inputs:
        if name not in read | keys and name != model.contract.as_of:
            yield Finding(name, "warning", "clients send it, and nothing reads it")
    for use in model.views:
        idle = [name for name in use.column_names() if name not in read]
        if len(idle) == len(use.view.features) and age_column(use) not in read:
            yield Finding(use.name, "warning", "looked up, and nothing reads any of its features")
        elif idle:
            yield Finding(use.name, "warning", f"nothing reads {', '.join(idle)}")


class _Trial:
    """Runs each transform on random rows, on parts of them, and on a row of which nothing is known."""

    def __init__(self, model: Model, postprocess_state: Mapping[str, State], rng: np.random.Generator) -> None:
        self.model = model
        self.rng = rng
        self.state: dict[str, State] = {name: dict(state) for name, state in postprocess_state.items()}
        self.pipeline = Pipeline(model, Signature((), ()), {})
        self.findings: list[Finding] = []
        # two batches: a fault may show on typical rows only, or only where nothing is known
        self.many = self._columns(random_inputs(model, ROWS, rng))
        self.bare = self._columns(random_inputs(model, 1, rng, missing=1.0, stale=0.0, null=1.0))

    def run(self) -> list[Finding]:
        steps: list[Transform] = [*self.model.on_demand, *self.model.model_dependent, *self.model.ordered_postprocess]
        model_inputs = {input_name(source) for inputs in self.model.inputs.values() for source in inputs}
        for step in steps:
            if isinstance(step, Postprocess) and (reason := self._not_yet(step)):
                self.findings.append(Finding(step.name, "warning", reason))
                continue
            if lacking := [name for name in step.inputs if name not in self.many]:
                self.findings.append(Finding(step.name, "warning", f"not run, since it reads {', '.join(lacking)}"))
                continue
            self.findings.append(self._try(step, is_input=step.name in model_inputs))
        return self.findings

    def _columns(self, inputs: Inputs) -> Columns:
        """Columns of the rows that can be answered, with a prediction made up for each."""
        refused = self.pipeline.given(inputs).refused
        accepted_rows = np.array([row for row in range(len(inputs)) if row not in refused], int)
        if not len(accepted_rows):
            inputs = random_inputs(self.model, len(inputs), self.rng, missing=0.0, stale=0.0)
            accepted_rows = np.arange(len(inputs))
        columns = self.pipeline.given(inputs.take(accepted_rows)).columns
        for prediction in self.model.contract.predictions:
            columns[prediction.name] = _made_up_predictions(prediction, len(accepted_rows), self.rng)
        return columns

    def _not_yet(self, step: Postprocess) -> str | None:
        if lacking := step.required_state - self.state.get(step.name, {}).keys():
            return f"not run: its state {', '.join(sorted(lacking))} is given when the bundle is written"
        return None

    def _try(self, step: Transform, *, is_input: bool) -> Finding:
        try:
            # results are judged, not the warnings on the way to them
            with np.errstate(all="ignore"):
                if isinstance(step, BoundTransform):
                    # rows with NaN would only make state that is refused, and hide what the transform itself does
                    self.state[step.name] = fit_state(step, _finite_rows(self.many, step.inputs))
                state = self.state.get(step.name, {})
                check_row_independence(step, self.many, state)
                self.many[step.name] = evaluate(step, self.many, state)
                self.bare[step.name] = evaluate(step, self.bare, state)
                if isinstance(step, Postprocess):
                    for columns in (self.many, self.bare):
                        columns[step.name] = as_answer_column(columns[step.name], step.answer.type)
        except TandemError as error:
            return Finding(step.name, "failed", str(error))
        # the author's own code may raise anything, and the other steps are to be checked too
        except Exception as error:
            return Finding(step.name, "failed", f"{type(error).__name__}: {error}")
        return self._judge(step, self.many[step.name], is_input=is_input)

    def _judge(self, step: Transform, result: Column, *, is_input: bool) -> Finding:
        if is_input and result.dtype.kind in "mM":
            return Finding(step.name, "failed", f"gives {result.dtype}; a model input is a number, boolean or string")
        for columns in (self.many, self.bare):
            row = _first_not_finite(columns[step.name])
            if row is not None:
                arguments = ", ".join(f"{name}={columns[name][row]}" for name in step.inputs)
                # a model may take NaN as an input, but an answer with NaN is refused
                status: Status = "failed" if isinstance(step, Postprocess) else "warning"
                return Finding(step.name, status, f"gives {columns[step.name][row]} for {arguments}")
        shape = "" if result.ndim == 1 else f", {result.shape[1]} elements per row"
        return Finding(step.name, "ok", f"{result.dtype}{shape}; each row by itself")


def _check_signature(unfitted: Pipeline, state: Mapping[str, State], rng: np.random.Generator) -> Finding:
    model = unfitted.model
    inputs = random_inputs(model, ROWS, rng, missing=0.0, stale=0.0)
    try:
        columns = unfitted.features(inputs).columns
        Pipeline(model, Signature((), ()), state).tensors(columns)
        signature = draft_signature(model, columns)
    except TandemError as error:
        return Finding("signature", "failed", str(error))
    names = describe_columns(signature.columns)
    return Finding("signature", "ok", f"{len(signature.columns)} columns: {names}; hash {signature.hash[:12]}")


def _check_compatibility(old: Contract, new: Contract) -> Iterator[Finding]:
    changes = compare(old, new)
    if not changes:
        yield Finding("compatibility", "ok", "the deployment API is unchanged")
    for change in changes:
        yield Finding(change.field, "failed" if change.breaking else "ok", change.what)


def _finite_rows(columns: Columns, names: Sequence[str]) -> Columns:
    """The rows in which the given columns have no NaN and no infinity, if there are any: state is fitted to such."""
    finite = np.ones(len(columns["as_of"]), bool)
    for name in names:
        if columns[name].dtype.kind == "f":
            finite &= np.isfinite(columns[name]).reshape(len(finite), -1).all(axis=1)
    return {name: columns[name][finite] for name in names} if finite.any() else columns


def _made_up_predictions(prediction: Prediction, rows: int, rng: np.random.Generator) -> Column:
    if prediction.type == "string":
        return np.array([f"class-{index}" for index in rng.integers(3, size=rows)], object)
    # the author's buckets tell the range in which predictions lie
    edges = prediction.buckets or (0.0, 1.0)
    length = array_length(prediction.type)
    values: Column = rng.uniform(edges[0], edges[-1], rows if length is None else (rows, length))
    if element_type(prediction.type) == "int64":
        values = np.rint(values)
    return values.astype(numpy_dtype(prediction.type))


def _first_not_finite(column: Column) -> int | None:
    if column.dtype.kind != "f":
        return None
    wrong = ~np.isfinite(column).reshape(len(column), -1).all(axis=1)
    return int(np.flatnonzero(wrong)[0]) if wrong.any() else None
