"""Golden rows replayed: the session must answer the golden vectors as the training framework did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tandem.golden import Tolerance, check_outputs
from tandem.oip.tensors import Array, str_array

Run = Callable[[dict[str, Array], Sequence[str]], Sequence[Array]]


def replay(
    run: Run,
    vectors: Mapping[str, Array],
    outputs: Mapping[str, Array],
    tolerance: Tolerance,
) -> None:
    """Run the golden vectors and compare the outputs.

    Args:
        run: The session.
        vectors: Input tensors by name.
        outputs: Output tensors by name, as the training framework computed them.
        tolerance: How far the execution provider's may be apart.

    Raises:
        BundleError: An output is out of tolerance; names output, row and both values.
    """
    found = {
        name: str_array(name, array) if array.dtype.kind == "O" else array
        for name, array in zip(outputs, run(dict(vectors), tuple(outputs)), strict=True)
    }
    check_outputs(found, dict(outputs), tolerance)
