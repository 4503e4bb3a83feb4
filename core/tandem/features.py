"""Feature views: what is stored about an entity, and how one model uses it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from tandem.dtypes import FieldType
from tandem.durations import parse_duration
from tandem.errors import DefinitionError
from tandem.fields import Field, Value, check_name, filler_of, has_filler
from tandem.windows.definition import Statistic, Window


class Feature(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stored value of an entity.

    Attributes:
        name: Name of its column.
        type: One of :data:`~tandem.dtypes.FieldType`, but not ``bytes``.
        default: Taken when the entity has no row, when the row is too old, or when the value is null. A view whose
            features all have a default answers for every entity; otherwise an unknown entity is refused with 404.
        unit: Its unit.
        description: Free text.
        statistic: What it says about the events of a window, in a view with one.
    """

    name: str
    type: FieldType = "float64"
    default: Value | None = None
    unit: str = ""
    description: str = ""
    statistic: Statistic | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "feature")
        if isinstance(self.default, list):
            msgspec.structs.force_setattr(self, "default", tuple(self.default))
        try:
            if Field(self.type, default=self.default).type == "bytes":
                raise DefinitionError("bytes are for request fields; store what a model reads of them")
            if self.statistic is not None:
                self._check_statistic(self.statistic)
        except DefinitionError as error:
            raise DefinitionError(f"feature {self.name!r}: {error}") from None

    def _check_statistic(self, statistic: Statistic) -> None:
        kind, result = statistic.kind, statistic.result
        if self.type != result:
            raise DefinitionError(f"statistic {kind!r} is {result}, and the feature {self.type}")
        if statistic.nullable and not self.nullable:
            raise DefinitionError(f"statistic {kind!r} may be null; the feature needs a default")

    @property
    def filler(self) -> Any:
        """The default as an element of the feature's column; NaN, zero, empty or NaT where there is none."""
        return filler_of(self.type, self.default)

    @property
    def nullable(self) -> bool:
        """Whether something stands for a null: a default, NaN or NaT."""
        return self.default is not None or has_filler(self.type)


Fallback = Literal["last_known", "default", "model", "refuse"]
"""What stands for the rows of a view while the store does not answer: the row that it had when it was last asked, or
else the features' defaults; the defaults only; the row that it had when it was last asked, or else the prediction of
the bundle's simpler model; or nothing, so that requests are refused with 503."""


class FeatureView(msgspec.Struct, frozen=True, omit_defaults=True):
    """Features that are computed together and stored under the same keys.

    Attributes:
        name: Name of the view.
        keys: Names of the serving keys that identify an entity.
        features: The features, in the order in which they are packed.
        version: Raised whenever the meaning of a feature changes; two versions are stored side by side.
        max_age: Older values count as missing: a number and one of ``s m h d w``, as ``"2d"``; None for no limit.
        fallback: What stands for stored rows while the store does not answer; one of :data:`Fallback`. Where a feature
            has no default, a row of which nothing is known is refused with 503. With ``"model"``, the simpler model
            also answers for entities that would be refused because a feature has no default.
        last_known_age: A row that was read longer ago than this is not known any more; written as ``max_age``.
        description: Free text.
        window: Which events count together, if the features are statistics of events: a row of the view is then what is
            known of an entity's events in one window, as of the end of the window.
    """

    name: str
    keys: tuple[str, ...]
    features: tuple[Feature, ...]
    version: int = 1
    max_age: str | None = None
    description: str = ""
    fallback: Fallback = "last_known"
    last_known_age: str = "10m"
    window: Window | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "feature view")
        # lists read better in a model package; tuples keep the view hashable
        msgspec.structs.force_setattr(self, "keys", tuple(self.keys))
        msgspec.structs.force_setattr(self, "features", tuple(self.features))
        if not self.keys or not self.features:
            raise DefinitionError(f"feature view {self.name!r}: needs at least one key and one feature")
        names = [*self.keys, *(feature.name for feature in self.features)]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise DefinitionError(f"feature view {self.name!r}: {', '.join(sorted(repeated))} named twice")
        if self.max_age is not None:
            parse_duration(self.max_age)
        parse_duration(self.last_known_age)
        if self.fallback not in get_args(Fallback):
            allowed = ", ".join(get_args(Fallback))
            raise DefinitionError(f"feature view {self.name!r}: fallback is {self.fallback!r}; it is one of {allowed}")
        self._check_statistics()

    def _check_statistics(self) -> None:
        types: dict[str, str] = {} if self.window is None else {self.window.event_time: "timestamp"}
        for feature in self.features:
            where = f"feature view {self.name!r}: feature {feature.name!r}"
            if (feature.statistic is None) != (self.window is None):
                missing = "the view has no window" if self.window is None else "in a view with a window, it needs one"
                raise DefinitionError(
                    f"{where}: statistic is {feature.statistic and feature.statistic.kind}; {missing}"
                )
            if feature.statistic is None or feature.statistic.column is None:
                continue
            column, type_ = feature.statistic.column, feature.statistic.type
            if types.setdefault(column, type_) != type_:
                raise DefinitionError(f"{where}: column {column!r} is {type_} here, and {types[column]} elsewhere")

    @property
    def has_defaults(self) -> bool:
        """Whether defaults may stand for a row of which nothing is known."""
        return self.fallback in ("last_known", "default") and all(
            feature.default is not None for feature in self.features
        )

    @property
    def is_answerable(self) -> bool:
        """Whether something stands for every row of which nothing is known: defaults, or the simpler model."""
        return self.has_defaults or self.fallback == "model"

    @property
    def window_definition(self) -> bytes:
        """What is computed of events, as it counts in checksums; empty for a view without a window."""
        statistics = [feature.statistic for feature in self.features]
        return b"" if self.window is None else msgspec.json.encode([self.window, statistics])

    @property
    def keeps_rows(self) -> bool:
        """Whether the row that was read last may stand for one that cannot be read now."""
        return self.fallback in ("last_known", "model")

    def on(self, *, prefix: str = "", **keys: str) -> ViewUse:
        """This view for other entities of the same row: ``city.on(prefix="origin_", city_id="origin_id")``.

        Args:
            prefix: Put before the name of each feature.
            keys: Which serving key stands for which key of the view; keys left out keep their name.

        Raises:
            DefinitionError: if the view has no such key.
        """
        if strange := keys.keys() - set(self.keys):
            raise DefinitionError(f"feature view {self.name!r} has no key {', '.join(sorted(strange))}")
        return ViewUse(view=self, prefix=prefix, serving_keys=tuple(keys.get(key, key) for key in self.keys))


class ViewUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A feature view as one model uses it; made by :meth:`FeatureView.on`.

    Attributes:
        view: The view.
        serving_keys: For each key of the view, the serving key that gives its value.
        prefix: Put before the name of each feature, so that one view can serve several entities of a row.
    """

    view: FeatureView
    serving_keys: tuple[str, ...]
    prefix: str = ""

    @property
    def name(self) -> str:
        """Name of this use, as in metrics and in ``degraded``: prefix and view name."""
        return self.prefix + self.view.name

    def column_names(self) -> tuple[str, ...]:
        """Names of the feature columns, in the order of the view."""
        return tuple(self.prefix + feature.name for feature in self.view.features)
