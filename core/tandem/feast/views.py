"""Feature views of a Feast repository as Python source of a model package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from tandem.errors import DefinitionError
from tandem.feast.repository import open_repository, read_view
from tandem.feast.types import feature_type, key_type
from tandem.features import Feature, FeatureView

_UNITS: Final = (("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def write_views(repository: Path | str, names: Sequence[str]) -> str:
    """A Python module that declares feature views as a Feast repository has them.

    Features are sorted by name, since Feast keeps no order. A feature of a type that Tandem does not have is left out,
    with a comment.

    Args:
        repository: Directory with ``feature_store.yaml``.
        names: The feature views.

    Raises:
        DefinitionError: if one cannot be declared: naming it, and the reason.
    """
    feast = open_repository(repository)
    views = [_declare(read_view(feast, name)) for name in names]
    head = f'"""Feature views of the Feast project {feast.project}."""\n\nfrom tandem import Feature, FeatureView\n'
    return "\n".join([head, *views])


def _declare(source: Any) -> str:
    """The declaration of one view."""
    name = source.name
    if strange := [field for field in source.entity_columns if key_type(field) is None]:
        raise DefinitionError(
            f"feature view {name!r}: key {strange[0].name} is {strange[0].dtype}; a key is a string or a whole number"
        )
    types = {field.name: feature_type(field) for field in source.features}
    features = tuple(Feature(feature, type_) for feature, type_ in sorted(types.items()) if type_ is not None)
    max_age = _duration(source.ttl) if source.ttl else None
    # refuses names that cannot be parameters of a function
    view = FeatureView(
        name, keys=tuple(source.join_keys), features=features, max_age=max_age, description=source.description
    )
    left_out = {field.name: field.dtype for field in source.features if types[field.name] is None}
    return "\n".join(_lines(view, left_out))


def _lines(view: FeatureView, left_out: Mapping[str, Any]) -> list[str]:
    lines = [f"{view.name} = FeatureView(", f'    "{view.name}",', f"    keys={_strings(view.keys)},"]
    lines += [f'    max_age="{view.max_age}",'] if view.max_age else []
    lines += [f"    description={json.dumps(view.description, ensure_ascii=False)},"] if view.description else []
    lines.append("    features=[")
    lines += [f"        Feature({_strings((feature.name, feature.type))[1:-1]})," for feature in view.features]
    lines += [f"        # left out: {feature} is {kind}" for feature, kind in sorted(left_out.items())]
    return [*lines, "    ],", ")", ""]


def _duration(ttl: timedelta) -> str:
    seconds = max(1, round(ttl.total_seconds()))
    return next(f"{seconds // length}{unit}" for unit, length in _UNITS if seconds % length == 0)


def _strings(values: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
