"""A Feast repository, as far as its online store is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feast import FeatureStore, OnDemandFeatureView
from feast import FeatureView as FeastView
from feast.errors import FeatureViewNotFoundException

from tandem.errors import DefinitionError


def open_repository(path: Path | str) -> FeatureStore:
    """The repository in a directory with ``feature_store.yaml``.

    Raises:
        DefinitionError: if there is none that Feast can read.
    """
    try:
        return FeatureStore(repo_path=str(path))
    except Exception as error:
        raise DefinitionError(f"{path}: Feast cannot read this repository: {error}") from error


def read_view(repository: FeatureStore, name: str) -> FeastView:
    """One of its feature views.

    Raises:
        DefinitionError: if there is none of this name, or it cannot be read from an online store.
    """
    try:
        view: Any = repository.registry.get_any_feature_view(name, repository.project, allow_cache=True)
    except FeatureViewNotFoundException:
        names = ", ".join(sorted(view.name for view in repository.list_all_feature_views(allow_cache=True))) or "none"
        raise DefinitionError(f"the Feast repository has no feature view {name!r}; it has {names}") from None
    if isinstance(view, OnDemandFeatureView):
        raise DefinitionError(
            f"{name!r} is an on-demand feature view: its Python runs inside of Feast, where nothing compares it with "
            "what training computed; write it as an @on_demand function of the model package"
        )
    if not view.online:
        raise DefinitionError(f"feature view {name!r} of the Feast repository is not online")
    if not view.join_keys:
        raise DefinitionError(f"feature view {name!r} of the Feast repository has no entity")
    return view
