"""The vector of one row, at the cost of the NumPy calls that its transforms make.

A :class:`~tandem.pipeline.Pipeline` takes batches, and a check of a batch costs for one row what it costs for hundreds.
Most rows are usual: nothing of them is missing, null, old or infinite. Such a row takes this way, with the same
functions on the same columns, bit for bit; its checks compare bytes and Python's numbers. For any other row the answer
is None here, and it takes the pipeline, which knows what stands for what is missing, and what the error is.

What depends on the model is decided once, as in :mod:`dataclasses`: the source of a function is written, with a line
for each column, and no name of the model in it.
"""

from __future__ import annotations

import contextvars
import struct
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Final

import numpy as np

from tandem.assembly import Assembly
from tandem.dtypes import Column, Columns, column_width, element_type, is_ragged, numpy_dtype
from tandem.durations import microseconds
from tandem.features import ViewUse
from tandem.inputs import Tensors
from tandem.model import age_column, input_name
from tandem.packed_rows import Block, RowLayout
from tandem.pipeline import Pipeline
from tandem.rows import RowReader
from tandem.signature import prediction_tensor
from tandem.store_keys import join_parts

Values = tuple[Any, ...]
"""The fields of a row, in the order of the contract; see :attr:`~tandem.rows.RowReader.values`."""

Compute = Callable[[Values, Sequence[bytes | None], int], tuple[Tensors, Columns] | None]

_HEAD: Final = struct.Struct("<Iq")
_FAR: Final = 2**61
"""Microseconds; NumPy's times overflow when those beyond are subtracted, and NaT is among them."""

_SUMMED: Final = 64
"""Numbers up to which Python's sum is faster than a call of NumPy."""

_ONE: Final = ((1,), (1, 1))
"""Shapes of an output with one number for one row."""

_EXACT: Final = 2**53
"""Whole numbers up to this are the same as floats."""


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
        self._compute = _write(pipeline, reader).compiled()
        self._predictions = _plain_predictions(pipeline)
        # entered once and copied, which costs less than NumPy's context manager: what comes out is checked
        self._context = contextvars.copy_context()
        self._context.run(np.seterr, all="ignore")

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
            # whatever it is, the pipeline finds it again and says what it is
            return None


class _Source:
    """The source of a function, and the objects that it refers to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.objects: dict[str, Any] = {
            "all_finite": _all_finite,
            "array": np.array,
            "bytearray": bytearray,
            "exact": _is_exact,
            "far": _FAR,
            "frombuffer": np.frombuffer,
            "head": _HEAD.unpack_from,
            "isfinite": isfinite,
            "ndarray": np.ndarray,
            "time": np.dtype("datetime64[us]"),
        }
        # by column of the model: the array of one entry, or else the number
        self.arrays: dict[str, str] = {}
        self.numbers: dict[str, str] = {}
        self.floats: set[str] = set()

    def name(self, value: Any) -> str:
        """A name for an object."""
        name = f"o{len(self.objects)}"
        self.objects[name] = value
        return name

    def add(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines

    def refuse(self, condition: str) -> None:
        """The row is not a usual one if this holds."""
        self.add(f"if {condition}: return None")

    def assign(self, column: str, expression: str) -> str:
        """An array of one entry, for a column of the model; returns its name."""
        name = self.arrays[column] = f"c{len(self.arrays)}"
        self.add(f"{name} = {expression}")
        return name

    def compiled(self) -> Compute:
        """The function."""
        text = "\n    ".join(["def compute(values, stored, now):", *self.lines])
        # the only words in it are those of this module
        exec(compile(text, "<single row>", "exec"), self.objects)  # noqa: S102
        compute: Compute = self.objects["compute"]
        return compute


def _write(pipeline: Pipeline, reader: RowReader) -> _Source:
    """The source for a model."""
    model, source = pipeline.model, _Source()
    steps = (*model.on_demand, *model.model_dependent, *model.postprocess)
    read = {name for step in steps for name in step.inputs}
    # tensors of other types, and those of columns with several numbers, are assembled of arrays
    assembled = [
        assembly
        for assembly in pipeline.assembly
        if not assembly.is_float or not assembly.plain or len(assembly.tensor.shape) == 1
    ]
    read |= {name for assembly in assembled for name, _ in assembly.sources}
    inputs = {input_name(column) for columns in model.inputs.values() for column in columns}
    read |= inputs & {age_column(use) for use in model.views}
    _write_request(source, pipeline, reader, read, inputs)
    for at, use in enumerate(model.views):
        _write_view(source, use, at, read)
    for step in pipeline.steps:
        arguments = ", ".join(source.arrays[name] for name in step.inputs)
        result = source.assign(step.name, f"{source.name(step.function)}({arguments})")
        source.refuse(f"type({result}) is not ndarray or not {result}.ndim or len({result}) != 1")
    tensors = [
        f"{source.name(assembly.tensor.name)}: "
        + (_assembled(source, assembly) if assembly in assembled else _flat(source, assembly))
        for assembly in pipeline.assembly
    ]
    retained = sorted({"as_of", *(name for step in model.postprocess for name in step.inputs)} & source.arrays.keys())
    columns = [f"{source.name(name)}: {source.arrays[name]}" for name in retained]
    source.add(f"return {{{', '.join(tensors)}}}, {{{', '.join(columns)}}}")
    return source


def _write_request(source: _Source, pipeline: Pipeline, reader: RowReader, read: set[str], inputs: set[str]) -> None:
    """Columns of the request, and the time of the question."""
    contract = pipeline.model.contract
    source.add("moment = now")
    for at, (name, field) in enumerate(contract.inputs.items()):
        value = f"values[{at}]"
        if name == contract.as_of:
            column = source.assign(name, f"{source.name(reader.readers[at].column)}(({value},))")
            source.add(f"moment = int({column}.view({source.name(np.dtype(np.int64))})[0])")
            source.add(f"is_asked = moment != {_NAT}", "moment = moment if is_asked else now")
            source.assign("as_of", f"{column} if is_asked else array((now,), time)")
        elif name in read or (name in inputs and not (field.required and field.type in _AS_GIVEN)):
            if field.required and field.type in ("float64", "int64", "bool", "string"):
                source.assign(name, f"array(({value},), {source.name(field.dtype)})")
            else:
                source.assign(name, f"{source.name(reader.readers[at].column)}(({value},))")
        elif name in inputs:
            source.numbers[name] = value
            source.floats.add(value)
    if contract.as_of is None:
        source.assign("as_of", "array((now,), time)")
    source.refuse("not -far < moment < far")


def _write_view(source: _Source, use: ViewUse, at: int, read: set[str]) -> None:
    """Columns of the features of one view, and the checks of its row."""
    layout = RowLayout(use.view)
    blocks = layout.blocks
    start, size = blocks[0].start, blocks[-1].stop
    has_texts = any(block.type == "string" for block in blocks)
    source.add(f"row = stored[{at}]")
    source.refuse(
        f"row is None or len(row) {'<' if has_texts else '!='} {size} "
        f"or row[{_HEAD.size}:{start}] != {source.name(bytes(start - _HEAD.size))}"
    )
    source.add("layout, event_time = head(row)")
    source.refuse(f"layout != {layout.checksum} or not -far < event_time < far")
    if use.view.max_age is not None:
        source.refuse(f"moment - event_time > {microseconds(use.view.max_age)}")
    if age_column(use) in read:
        age = f"({source.arrays['as_of']} - array((event_time,), time))"
        source.assign(age_column(use), f"{age} / {source.name(np.timedelta64(1, 's'))}")
    if has_texts:
        source.add(f"stop = {size}")
    for block in blocks:
        if block.type == "string":
            _write_texts(source, block, use.prefix, read)
        else:
            _write_block(source, block, use.prefix, read)
    if has_texts:
        source.refuse("stop != len(row)")


def _write_block(source: _Source, block: Block, prefix: str, read: set[str]) -> None:
    """Neighbouring features of one type: those that are read as arrays, and the numbers of the others."""
    width = column_width(block.type)
    numbers = f"n{len(source.lines)}"
    # a copy, aligned as NumPy's own arrays are, and that may be written to
    dtype = source.name(numpy_dtype(block.type))
    source.add(f"block = frombuffer(bytearray(row[{block.start}:{block.stop}]), {dtype})")
    if width is None:
        source.add(f"{numbers} = block.tolist()")
    if element_type(block.type).startswith("float"):
        # a stored NaN is null; a sum that overflows says no too
        source.refuse(f"not isfinite(sum({numbers}))" if width is None else "not all_finite(block)")
    for at, name in enumerate(block.names):
        if width is not None:
            source.assign(prefix + name, f"block[{at * width}:{(at + 1) * width}].reshape(1, {width})")
        elif prefix + name in read:
            source.assign(prefix + name, f"block[{at}:{at + 1}]")
        else:
            number = source.numbers[prefix + name] = f"{numbers}[{at}]"
            if block.type != "int64":
                source.floats.add(number)


def _write_texts(source: _Source, block: Block, prefix: str, read: set[str]) -> None:
    """Neighbouring strings, whose bytes are behind all fixed values."""
    length = source.name(struct.Struct("<I").unpack_from)
    for at, name in enumerate(block.names):
        source.add(f"start, stop = stop, stop + {length}(row, {block.start + 4 * at})[0]")
        if prefix + name in read:
            source.assign(prefix + name, f"array((row[start:stop].decode('utf-8', 'replace'),), {source.name(object)})")


def _flat(source: _Source, assembly: Assembly) -> str:
    """A tensor of columns with one number each, from Python's numbers; returns its name."""
    numbers = []
    for at, name in enumerate(assembly.plain):
        # a column that a transform has read may have been written to by it, so it is read after that
        number = source.numbers.get(name)
        if number is None:
            number = f"e{len(source.lines)}_{at}"
            source.add(f"{number} = {source.arrays[name]}.item()")
        if number not in source.floats:
            source.refuse(f"type({number}) is not float and not exact({number})")
        numbers.append(number)
    tensor = f"t{len(source.lines)}"
    source.add(f"{tensor} = array((({', '.join(numbers)},),), {source.name(assembly.dtype)})")
    # NaN may be what the model was trained with: the pipeline distinguishes it from an overflow
    is_short = len(numbers) <= _SUMMED
    source.refuse(f"not isfinite(sum({tensor}[0].tolist()))" if is_short else f"not all_finite({tensor})")
    return tensor


def _assembled(source: _Source, assembly: Assembly) -> str:
    """A tensor that is assembled of arrays; returns its name."""
    tensor = f"t{len(source.lines)}"
    columns = ", ".join(f"{source.name(name)}: {source.arrays[name]}" for name, _ in assembly.sources)
    source.add(f"{tensor} = {source.name(assembly.assemble)}({{{columns}}})")
    return tensor


def _all_finite(numbers: Column) -> bool:
    return bool(np.isfinite(numbers).all())


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


_AS_GIVEN: Final = ("float64", "bool")
"""Types whose values go into a tensor as they are given."""

_NAT: Final = int(np.datetime64("NaT").astype(np.int64))
