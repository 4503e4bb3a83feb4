"""The vector of one row, at the cost of the NumPy calls that its transforms make.

A :class:`~tandem.pipeline.Pipeline` takes batches, and a check of a batch costs for one row what it costs for hundreds.
Most rows are usual: nothing of them is missing, null, old or infinite. Such a row takes this way, with the same
functions on the same columns, bit for bit; its checks compare bytes and Python's numbers. For any other row the answer
is None here, and it takes the pipeline, which knows what stands for what is missing, and what the error is.

What depends on the model is decided once. A row then fills two lists, in the same order for every row: ``columns``,
arrays with one entry for what a function of the model reads; and ``numbers``, Python's, for what goes into a tensor as
it is. Whatever reads them knows the places.
"""

from __future__ import annotations

import contextvars
import struct
from collections.abc import Callable, Sequence
from math import inf, isfinite
from operator import itemgetter
from typing import Any, Final

import numpy as np

from tandem.assembly import Assembly
from tandem.dtypes import Column, Columns, column_width, is_ragged, numpy_dtype
from tandem.durations import microseconds
from tandem.features import ViewUse
from tandem.inputs import Tensors
from tandem.model import Model, age_column, input_name
from tandem.packed_rows import Block, RowLayout
from tandem.pipeline import Pipeline
from tandem.rows import RowReader
from tandem.signature import prediction_tensor
from tandem.store_keys import join_parts

Values = tuple[Any, ...]
"""The fields of a row, in the order of the contract; see :attr:`~tandem.rows.RowReader.values`."""

_Pick = Callable[[Any], Sequence[Any]]
"""Picks entries of a list or an array."""

_MakeTensor = Callable[[list[Any], list[Column]], Column]
"""Makes a tensor of the numbers and the columns of a row."""

_FAR: Final = 2**61
"""Microseconds; NumPy's times overflow when those beyond are subtracted, and NaT is among them."""

_TIME: Final = np.dtype("datetime64[us]")
_AGE: Final = np.dtype("timedelta64[us]")
_SECOND: Final = np.timedelta64(1, "s")
_NAT: Final = int(np.datetime64("NaT").astype(np.int64))

_AS_GIVEN: Final = ("float64", "bool")
"""Types of fields whose values go into a tensor as they are given."""

_CODES: Final = {"float64": "d", "float32": "f", "int64": "q", "bool": "?", "timestamp": "q", "string": "I"}
"""Codes of :mod:`struct` for single values in a packed row; of a string, it is the length."""

_HEAD_SIZE: Final = struct.calcsize("<Iq")
"""Bytes of layout and time in a packed row."""

_ONE: Final = ((1,), (1, 1))
"""Shapes of an output with one number for one row."""

_EXACT: Final = 2**53
"""Whole numbers up to this are the same as floats."""


class _UnusualRow(Exception):
    """A row that is left to the pipeline."""


class SingleRow:
    """Makes the tensors of one row at a time, and reads the prediction of one.

    Args:
        pipeline: The pipeline, with its state.
        reader: The reader of the contract's rows.
    """

    def __init__(self, pipeline: Pipeline, reader: RowReader) -> None:
        names = list(pipeline.model.contract.inputs)
        self._keys = [
            (RowLayout(use.view).key_prefix, [names.index(key) for key in use.serving_keys])
            for use in pipeline.model.views
        ]
        self._predictions = _plain_predictions(pipeline)
        # NumPy's settings are those of a context: to run in a copy costs less than np.errstate for each row
        self._context = contextvars.copy_context()
        self._context.run(np.seterr, all="ignore")
        read = _columns_read(pipeline)
        self._request = _Request(pipeline.model, reader, read)
        self._views = [_StoredView(use, read) for use in pipeline.model.views]
        self._place(pipeline)

    def _place(self, pipeline: Pipeline) -> None:
        """Decide where transforms, tensors and post-processing find what they read."""
        sources: list[_Request | _StoredView] = [self._request, *self._views]
        columns = _places(
            [name for source in sources for name in source.columns] + [step.name for step in pipeline.steps]
        )
        # columns of which a number goes into a tensor
        flat = {name for assembly in pipeline.assembly if _is_flat(assembly) for name in assembly.plain}
        scalars = [name for name in columns if name in flat]
        numbers = _places([name for source in sources for name in source.numbers] + scalars)
        self._steps = [(step.function, _picker([columns[name] for name in step.inputs])) for step in pipeline.steps]
        self._scalars = [columns[name] for name in scalars]
        self._tensors = [
            (assembly.tensor.name, _flat(assembly, numbers) if _is_flat(assembly) else _assembled(assembly, columns))
            for assembly in pipeline.assembly
        ]
        retained = {"as_of", *(name for step in pipeline.model.postprocess for name in step.inputs)}
        self._retained = [(name, at) for name, at in columns.items() if name in retained]

    @staticmethod
    def takes(pipeline: Pipeline) -> bool:
        """Whether a model has only types that are read here: no arrays of different length."""
        types = [field.type for field in pipeline.model.contract.inputs.values()]
        types += [feature.type for use in pipeline.model.views for feature in use.view.features]
        return not any(map(is_ragged, types))

    def keys(self, values: Values) -> list[bytes]:
        """Store keys of the row, one for each view; as :meth:`tandem.lookup.LookupPlan.keys` has them."""
        return [
            prefix + str(values[places[0]]).encode("utf-8", "surrogatepass")
            if len(places) == 1
            else prefix + join_parts([str(values[at]).encode("utf-8", "surrogatepass") for at in places])
            for prefix, places in self._keys
        ]

    def answer(self, outputs: Tensors) -> dict[str, Any] | None:
        """The answer, if it is nothing but numbers of the model; else None.

        Args:
            outputs: The model's output tensors for the row.
        """
        answer = {}
        for name, tensor, dtype in self._predictions:
            output = outputs[tensor]
            # what is more precise than its type would be rounded to it
            if output.shape not in _ONE or output.dtype.itemsize > dtype.itemsize:
                return None
            number = answer[name] = output.item()
            if type(number) is not float or not isfinite(number):
                return None
        return answer

    def tensors(self, values: Values, stored: Sequence[bytes | None], now: int) -> tuple[Tensors, Columns] | None:
        """The model's input tensors, and the columns that post-processing reads.

        Args:
            values: The row.
            stored: What the store has, one for each of :meth:`keys`.
            now: The present time, microseconds since 1970.

        Returns:
            None if the row is not a usual one.
        """
        try:
            # a copy, since a context is entered once at a time
            return self._context.copy().run(self._compute, values, stored, now)
        except Exception:
            # the pipeline takes the row instead, and raises the error that describes it
            return None

    def _compute(self, values: Values, stored: Sequence[bytes | None], now: int) -> tuple[Tensors, Columns]:
        moment, columns = self._request.read(values, now)
        numbers = list(values)
        for row, view in zip(stored, self._views, strict=True):
            view.read(row, moment, columns, numbers)
        for function, inputs in self._steps:
            result = function(*inputs(columns))
            # one without dimensions has no length, which is an error
            if type(result) is not np.ndarray or len(result) != 1:
                raise _UnusualRow
            columns.append(result)
        # a transform may have written to a column that it has read, so they are read after all of them
        numbers += [columns[at].item() for at in self._scalars]
        tensors = {name: make(numbers, columns) for name, make in self._tensors}
        return tensors, {name: columns[at] for name, at in self._retained}


class _Request:
    """Reads the fields of a request.

    Args:
        model: The model.
        reader: The reader of the contract's rows.
        read: Names of the model's columns that are read as arrays.

    Attributes:
        columns: Names of the columns that a row has, in their order.
        numbers: Names of the numbers that it has, in their order: all fields.
    """

    def __init__(self, model: Model, reader: RowReader, read: set[str]) -> None:
        contract, inputs = model.contract, _model_inputs(model)
        fields = [
            name
            for name, field in contract.inputs.items()
            if name in read or (name in inputs and not (field.required and field.type in _AS_GIVEN))
        ]
        self._has_as_of = contract.as_of is not None
        if contract.as_of is not None:
            # the time of the question comes first
            fields = [contract.as_of, *(name for name in fields if name != contract.as_of)]
        self.columns = [*fields, "as_of"]
        self.numbers = list(contract.inputs)
        self._fields = [(at, reader.readers[at].column) for at in map(self.numbers.index, fields)]

    def read(self, values: Values, now: int) -> tuple[int, list[Column]]:
        """The time of the question, microseconds since 1970, and the columns."""
        columns = [column_of((values[at],)) for at, column_of in self._fields]
        moment = int(columns[0].view(np.int64)[0]) if self._has_as_of else _NAT
        if moment == _NAT:
            moment = now
            columns.append(np.array((now,), _TIME))
        else:
            columns.append(columns[0])
        if not -_FAR < moment < _FAR:
            raise _UnusualRow
        return moment, columns


class _StoredView:
    """Reads the packed row of one view.

    Args:
        use: The view.
        read: Names of the model's columns that are read as arrays.

    Attributes:
        columns: Names of the columns that a row has, in their order.
        numbers: Names of the numbers that it has, in their order.
    """

    def __init__(self, use: ViewUse, read: set[str]) -> None:
        layout = RowLayout(use.view)
        blocks = layout.blocks
        self._checksum = layout.checksum
        self._unpack = struct.Struct(_format(blocks)).unpack_from
        self._no_nulls = bytes(blocks[0].start - _HEAD_SIZE)
        self._size = blocks[-1].stop
        self._max_age: float = inf if use.view.max_age is None else microseconds(use.view.max_age)
        self._has_age = age_column(use) in read
        single = [(use.prefix + name, block.type) for block in blocks if _is_single(block) for name in block.names]
        self.numbers = [name for name, _ in single]
        # of each string the place of its length, and whether it is read
        self._texts = [(at, name in read) for at, (name, type_) in enumerate(single) if type_ == "string"]
        self.columns = [age_column(use)] if self._has_age else []
        self._blocks = []
        for block in blocks:
            places = [at for at, name in enumerate(block.names) if use.prefix + name in read]
            # arrays are not unpacked with the single values, so all of them are looked at for NaN
            if block.type != "string" and (places or not _is_single(block)):
                self._blocks.append(_block_reader(block, places))
                self.columns += [use.prefix + block.names[at] for at in places]
        self.columns += [self.numbers[at] for at, is_read in self._texts if is_read]

    def read(self, row: Any, moment: int, columns: list[Column], numbers: list[Any]) -> None:
        """Append what the row has.

        Args:
            row: The packed row.
            moment: The time of the question, microseconds since 1970.
            columns: The columns up to here.
            numbers: The numbers up to here.

        Raises:
            Exception: if the row is missing, too old, of another layout or length, or has a null.
        """
        layout, event_time, nulls, *values = self._unpack(row)
        if layout != self._checksum or nulls != self._no_nulls or not -_FAR < event_time < _FAR:
            raise _UnusualRow
        # a stored NaN is null; a sum that overflows says no too, and the lengths of strings do not matter
        if moment - event_time > self._max_age or not isfinite(sum(values)):
            raise _UnusualRow
        numbers += values
        if self._has_age:
            columns.append(np.array((moment - event_time,), _AGE) / _SECOND)
        for span, shape, dtype, pick in self._blocks:
            # a copy, aligned as NumPy's own arrays are, and that may be written to
            block = np.ndarray(shape, dtype, bytearray(row[span]))
            if block.ndim > 1 and not np.isfinite(block).all():
                raise _UnusualRow
            columns += pick(block)
        # the bytes of strings are behind all fixed values
        stop = self._size
        for at, is_read in self._texts:
            start, stop = stop, stop + values[at]
            if is_read:
                columns.append(np.array((row[start:stop].decode("utf-8", "replace"),), object))
        if stop != len(row):
            raise _UnusualRow


def _is_single(block: Block) -> bool:
    """Whether features have one value each, and are not arrays."""
    return column_width(block.type) is None


def _format(blocks: Sequence[Block]) -> str:
    """Format of a packed row for :mod:`struct`: layout, time, nulls, and single values; arrays are left out."""
    values = [
        f"{len(block.names)}{_CODES[block.type]}" if _is_single(block) else f"{block.stop - block.start}x"
        for block in blocks
    ]
    return f"<Iq{blocks[0].start - _HEAD_SIZE}s{''.join(values)}"


def _block_reader(block: Block, places: Sequence[int]) -> tuple[slice, tuple[int, ...], np.dtype[Any], _Pick]:
    """Bytes, shape and dtype of neighbouring features of one type, and what picks those at some places."""
    width = column_width(block.type)
    shape = (len(block.names),) if width is None else (len(block.names), width)
    return slice(block.start, block.stop), shape, numpy_dtype(block.type), _slicer(places)


def _columns_read(pipeline: Pipeline) -> set[str]:
    """Columns that are read as arrays."""
    model = pipeline.model
    steps = (*model.on_demand, *model.model_dependent, *model.postprocess)
    read = {name for step in steps for name in step.inputs}
    read |= {name for assembly in pipeline.assembly if not _is_flat(assembly) for name, _ in assembly.sources}
    return read | (_model_inputs(model) & {age_column(use) for use in model.views})


def _model_inputs(model: Model) -> set[str]:
    return {input_name(source) for sources in model.inputs.values() for source in sources}


def _places(names: Sequence[str]) -> dict[str, int]:
    """The place of each name; of two, the last one."""
    return {name: at for at, name in enumerate(names)}


def _picker(places: Sequence[int]) -> _Pick:
    """Picks the entries of a list at some places, in one call into C."""
    if len(places) > 1:
        return itemgetter(*places)
    # of one place, itemgetter gives the entry alone; of a slice, a list
    start = places[0] if places else 0
    return itemgetter(slice(start, start + len(places)))


def _slicer(places: Sequence[int]) -> _Pick:
    """Picks the entries of an array at some places, each as an array of one entry, in one call into C."""
    if len(places) > 1:
        return itemgetter(*(slice(at, at + 1) for at in places))
    return lambda array: [array[at : at + 1] for at in places]


def _is_flat(assembly: Assembly) -> bool:
    """Whether a tensor is made of Python's numbers: it has floats, of columns with one number each."""
    return assembly.is_float and bool(assembly.plain) and len(assembly.tensor.shape) > 1


def _flat(assembly: Assembly, places: dict[str, int]) -> _MakeTensor:
    """Makes a tensor of numbers."""
    pick, dtype = _picker([places[name] for name in assembly.plain]), assembly.dtype
    shape = (1, len(assembly.plain))
    # NumPy's letters for floats are those of struct. Without "=", what overflows the type would not be an error
    pack = struct.Struct(f"={len(assembly.plain)}{dtype.char}").pack

    def make(numbers: list[Any], columns: list[Column]) -> Column:
        row = pick(numbers)
        for number in row:
            if type(number) is not float and not _is_exact(number):
                raise _UnusualRow
        # NaN may be what the model was trained with, which the pipeline knows
        if not isfinite(sum(row)):
            raise _UnusualRow
        return np.ndarray(shape, dtype, bytearray(pack(*row)))

    return make


def _assembled(assembly: Assembly, places: dict[str, int]) -> _MakeTensor:
    """Assembles a tensor of columns: one of another type, or of columns with several numbers."""
    sources = [(name, places[name]) for name, _ in assembly.sources]
    return lambda numbers, columns: assembly.assemble({name: columns[at] for name, at in sources})


def _plain_predictions(pipeline: Pipeline) -> list[tuple[str, str, np.dtype[Any]]]:
    """Name, output tensor and dtype of each prediction; none if an answer has anything but floats of the model."""
    contract, signature = pipeline.model.contract, pipeline.signature
    if pipeline.model.postprocess or contract.classes or not signature.outputs:
        return []
    if any(entry.column is not None or entry.type not in ("float64", "float32") for entry in contract.predictions):
        return []
    return [
        (entry.name, prediction_tensor(entry, signature.outputs), numpy_dtype(entry.type))
        for entry in contract.predictions
    ]


def _is_exact(number: Any) -> bool:
    """Whether a number that is not a float is the same as one."""
    return type(number) is bool or (type(number) is int and -_EXACT < number < _EXACT)
