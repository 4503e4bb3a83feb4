"""The simpler model of a bundle: a bundle within it, which answers where stored features are lacking.

Clients must not notice which of the two has answered but by ``degraded``, so both have the same deployment API; and the
simpler one looks up nothing, so that it answers without a store.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tandem.contract import Contract
from tandem.errors import DefinitionError
from tandem.features import ViewUse
from tandem.manifest import Manifest


def check_need(views: Sequence[ViewUse], *, has_simpler: bool) -> None:
    """Refuse views that leave rows to a simpler model where there is none, and a simpler model that no view needs.

    Args:
        views: The views of a bundle.
        has_simpler: Whether it has a simpler model.

    Raises:
        DefinitionError: naming the view.
    """
    names = [use.name for use in views if use.view.fallback == "model"]
    if names and not has_simpler:
        raise DefinitionError(
            f'feature view {names[0]!r} has fallback="model", and the bundle has no simpler model: '
            "give simpler= its bundle"
        )
    if has_simpler and not names:
        raise DefinitionError('the bundle has a simpler model, and no feature view has fallback="model"')


def check_simpler(contract: Contract, simpler: Manifest) -> None:
    """Refuse a simpler model that cannot stand for the model.

    Args:
        contract: Of the bundle.
        simpler: Manifest of the bundle within it.

    Raises:
        DefinitionError: if it has views, a simpler model of its own, or another contract; names the part that differs.
    """
    if simpler.views:
        raise DefinitionError(f"the simpler model looks up {simpler.views[0].name!r}; it must need no stored features")
    if simpler.simpler is not msgspec.UNSET:
        raise DefinitionError("the simpler model has a simpler model itself; only one is taken")
    outer, inner = _public(contract), _public(simpler.contract)
    if outer != inner:
        part = next(name for name in outer.__struct_fields__ if getattr(outer, name) != getattr(inner, name))
        raise DefinitionError(f"the simpler model has another contract: {part.replace('_', ' ')} must be the same")


def _public(contract: Contract) -> Contract:
    """The contract without what no client sees: which output tensor the prediction is, and the name for a bundle."""
    prediction = msgspec.structs.replace(contract.prediction, tensor=None, column=None)
    return msgspec.structs.replace(contract, model="", prediction=prediction)
