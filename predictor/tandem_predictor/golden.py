"""Golden rows replayed: the session must answer the golden vectors as the training framework did, in any company."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tandem import replay as replays
from tandem.comparison import Tolerance
from tandem.inputs import Tensors
from tandem.oip.tensors import Array, str_array

Run = Callable[[dict[str, Array], Sequence[str]], Sequence[Array]]


def replay(
    run: Run,
    vectors: Mapping[str, Array],
    outputs: Mapping[str, Array],
    tolerance: Tolerance,
    names: Sequence[str] = (),
) -> None:
    """Run the golden vectors whole, in halves and singly, and compare the outputs.

    Args:
        run: The session.
        vectors: Input tensors by name.
        outputs: Output tensors by name, as the training framework computed them.
        tolerance: How far the execution provider's may be apart.
        names: All outputs of the session, where it has others than these.

    Raises:
        BundleError: An output is out of tolerance, or changes with the rows that are run together; names output, row
            and both values.
    """
    replays.replay(named(run, tuple(names) or tuple(outputs)), dict(vectors), dict(outputs), tolerance)


def named(run: Run, names: Sequence[str]) -> replays.Run:
    """The session as a function from tensors to tensors by name, strings as ``str`` objects both ways."""

    def call(tensors: Tensors) -> Tensors:
        return {
            name: str_array(name, array) if array.dtype.kind == "O" else array
            for name, array in zip(names, run(tensors, names), strict=True)
        }

    return call
