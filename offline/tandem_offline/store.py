"""The offline store: all rows of all feature views over time, and what a model needs of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tandem.arrow_tables import TableSource
from tandem.model import Model
from tandem.package import ModelPackage
from tandem.sources import Source, read_sources
from tandem_offline.batch_spines import BatchSpine, check_query, choose_root
from tandem_offline.engine import Limits
from tandem_offline.feature_table import FeatureTable
from tandem_offline.joining import join
from tandem_offline.leaks import Leaks, find_leaks
from tandem_offline.relations import ViewTable, open_view
from tandem_offline.spines import Spine, read_spine


class OfflineStore:
    """The tables of feature views, with all their rows over time.

    Args:
        sources: For each feature view, by name, its table: a :class:`~tandem.sources.Source`, or what is the ``table``
            of one.
        limits: What a query may use.
    """

    def __init__(self, sources: Mapping[str, Source | TableSource], *, limits: Limits | None = None) -> None:
        self.sources = {
            view: source if isinstance(source, Source) else Source(source) for view, source in sources.items()
        }
        self.limits = limits or Limits()

    @classmethod
    def of(cls, package: ModelPackage, *, limits: Limits | None = None) -> OfflineStore:
        """The store whose tables ``[tool.tandem.features]`` of a model package names.

        Raises:
            DefinitionError: naming the view and the setting that is not valid.
        """
        return cls(read_sources(package), limits=limits)

    def training_set(
        self,
        model: Model,
        spine: TableSource,
        *,
        label: str | None = None,
        timezone: str | None = None,
        bitemporal: bool = True,
        duplicates: bool = False,
    ) -> FeatureTable:
        """The rows of a spine with the features that were known as of the time of each: what a model is trained on.

        Args:
            model: The model.
            spine: A table with the serving keys, the time of each row (the contract's ``as_of``, or else ``as_of``),
                the other fields of the contract, and the label. All its columns are in the result, in its order.
            label: Column of the labels, which must have no nulls.
            timezone: Zone of times of the spine that have none, as ``"UTC"`` or ``"Europe/Berlin"``.
            bitemporal: Of a view whose table tells since when a row is known, take only rows that were known then.
            duplicates: Allow rows that ask the same.

        Raises:
            DefinitionError: naming view, table, column and rows: a column that is missing, of another type, or without
                a time zone; a null key or time; two rows that ask the same.
        """
        rows = self._spine(model, spine, label, timezone, duplicates)
        return join(model, rows, self.views(model), self.limits, bitemporal=bitemporal, label=label)

    def batch_data(
        self,
        model: Model,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        latest: bool = False,
        entity_ids: Any = None,
        spine: TableSource | None = None,
        as_of: datetime | None = None,
        request: Mapping[str, Any] | None = None,
        root: str | None = None,
        timezone: str | None = None,
        bitemporal: bool = True,
        duplicates: bool = False,
    ) -> FeatureTable:
        """Rows to predict for, with their features: of a range of time, the newest ones, or those of a spine.

        The first two take fields of the contract from columns of this name in the root view's table, where it has them.

        Args:
            model: The model.
            start_time: First event time of the root view's rows, each of which is asked for as of its event time.
            end_time: Event time at which the range ends, itself not in it. All times need a zone.
            latest: Ask for each entity of the root view, as of one time.
            entity_ids: Only these entities, and with ``latest`` also those that have no row: values of the root view's
                key in a list, tuples if it has several keys, or a table with a column for each.
            spine: Ask for each row of a table, as of its time, as :meth:`training_set` does.
            as_of: The time of ``latest``; None for now.
            request: Values of further fields of the contract, the same for all rows.
            root: Name of the root view's use; None for the first view whose keys include those of all others.
            timezone: Zone of times of the spine that have none.
            bitemporal: With ``latest`` or ``spine``, take only rows that were known at the time of the row. In a range,
                all that is known now counts, since a row becomes known after its own event time.
            duplicates: Allow rows of the spine that ask the same.

        Raises:
            DefinitionError: if it is not one of these queries, or as :meth:`training_set`.
        """
        in_range = start_time is not None or end_time is not None
        check_query(
            in_range=in_range,
            latest=latest,
            has_spine=spine is not None,
            has_entities=entity_ids is not None,
            has_as_of=as_of is not None,
            has_root=root is not None,
        )
        views = self.views(model)
        if spine is not None:
            rows = self._spine(model, spine, None, timezone, duplicates)
        else:
            batch = BatchSpine(model, choose_root(model, views, root), entity_ids)
            rows = batch.in_range(start_time, end_time) if in_range else batch.latest(as_of or datetime.now(UTC))
        return join(model, rows, views, self.limits, bitemporal=bitemporal and not in_range, request=request)

    def leaks(
        self,
        model: Model,
        spine: TableSource,
        *,
        timezone: str | None = None,
        examples: int = 20,
    ) -> Leaks:
        """Rows and values of a training set that would change if rows that were not known yet counted.

        Args:
            model: The model.
            spine: As of :meth:`training_set`.
            timezone: Zone of times of the spine that have none.
            examples: Changed values that are reported one by one, at most.

        Raises:
            DefinitionError: as :meth:`training_set`.
        """
        rows = read_spine(model, spine, timezone=timezone)
        return find_leaks(rows, self.views(model), self.limits, examples)

    def views(self, model: Model) -> list[ViewTable]:
        """The tables of a model's views, checked against them, in the model's order.

        Raises:
            DefinitionError: naming the view, its table, and the column that is missing or of another type.
        """
        return [open_view(use, self.sources) for use in model.views]

    def _spine(
        self, model: Model, table: TableSource, label: str | None, timezone: str | None, duplicates: bool
    ) -> Spine:
        spine = read_spine(model, table, label=label, timezone=timezone)
        if not duplicates:
            spine.check_repeated(model, self.limits)
        return spine
