"""The SQL of point-in-time joins. Pure: text in, text out, and every name in it is made here.

Columns of the relation of a view: its keys ``k0 k1 …``, its features ``x0 x1 …``, ``event_time``, ``created`` where its
table has that, and ``row``. Columns of the spine: ``s0 s1 …``, and ``row``. A row of a view counts from the time
``since`` on: its event time, or the later time at which it became known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem_offline.scanning import ROW

SPINE = "spine"
"""Relation of the rows for which features are joined."""


@dataclass(frozen=True)
class ViewRelation:
    """A feature view within a query, once for each use of it.

    Attributes:
        name: Name of the relation.
        keys: For each key of the view, the expression over the spine ``s`` that it must equal.
        text_keys: For each key, whether it is compared as text.
        features: Number of its features.
        has_created: Whether its table tells since when a row is known.
        bitemporal: Whether a row counts only from the time on at which it became known.
        max_age_us: Microseconds after which values count as missing; None for no limit.
    """

    name: str
    keys: tuple[str, ...]
    text_keys: tuple[bool, ...]
    features: int
    has_created: bool
    bitemporal: bool
    max_age_us: int | None

    @property
    def known(self) -> str:
        """Relation of the rows that are the newest known ones at some time, each with that time: ``since``.

        Of rows with the same event time, the one that became known last counts, and of these the last one in the table.

        In a bitemporal view, a row that is older, when it becomes known, than one that is known already, never is the
        newest, and is left out. The times ``since`` of the others ascend with their event times.
        """
        partition = ", ".join(f"k{index}" for index in range(len(self.keys)))
        order = ["event_time", *(["created"] if self.has_created else []), ROW]
        if not self.bitemporal:
            window = f"(PARTITION BY {partition} ORDER BY {', '.join(order)})"
            return (
                f"SELECT *, event_time AS since FROM {self.name} "
                f"QUALIFY lead(event_time) OVER {window} IS DISTINCT FROM event_time"
            )
        window = f"(PARTITION BY {partition} ORDER BY {', '.join(['since', *order])})"
        return (
            f"SELECT * FROM (SELECT *, greatest(event_time, created) AS since FROM {self.name}) "
            f"QUALIFY event_time = max(event_time) OVER {window} AND lead(since) OVER {window} IS DISTINCT FROM since"
        )

    def join(self, at: str) -> str:
        """The join of the spine with this view, as of the expression ``at``."""
        conditions = [
            f"{expression} = {as_compared(f'{self.name}.k{index}', as_text=as_text)}"
            for index, (expression, as_text) in enumerate(zip(self.keys, self.text_keys, strict=True))
        ]
        return f"ASOF LEFT JOIN ({self.known}) {self.name} ON {' AND '.join(conditions)} AND {at} >= {self.name}.since"

    def columns(self, at: str) -> list[str]:
        """Its event time and its features, as expressions over the join; values that are too old are null."""
        features = [f"{self.name}.x{index}" for index in range(self.features)]
        if self.max_age_us is not None:
            fresh = f"{self.name}.event_time >= {at} - to_microseconds({self.max_age_us})"
            features = [f"CASE WHEN {fresh} THEN {feature} END" for feature in features]
        return [f"{self.name}.event_time", *features]


def as_compared(expression: str, *, as_text: bool) -> str:
    """A key as it is compared: a number that stands for a text is one."""
    return f"CAST({expression} AS VARCHAR)" if as_text else expression


def point_in_time(columns: Sequence[str], at: str, views: Sequence[ViewRelation], spine: str | None = None) -> str:
    """The query of a point-in-time join, whose rows are in the order of the spine.

    Args:
        columns: Columns of the spine, in the order of the result.
        at: The column of the spine with the time as of which a row's features are joined.
        views: The views.
        spine: Query of the spine; None if a relation of this name is there.

    Returns:
        SQL whose result has the columns of the spine, then those of each view: its event time and its features.
    """
    at = f"s.{at}"
    expressions = [f"s.{column}" for column in columns]
    expressions += [expression for view in views for expression in view.columns(at)]
    joins = " ".join(view.join(at) for view in views)
    selected = ", ".join(f"{expression} AS c{index}" for index, expression in enumerate(expressions))
    first = f"WITH {SPINE} AS MATERIALIZED ({spine}) " if spine else ""
    return f"{first}SELECT {selected} FROM {SPINE} s {joins} ORDER BY s.{ROW}"


def repeated_rows(columns: Sequence[str]) -> str:
    """The query for the first two rows of the spine that are equal in some columns."""
    return (
        f"SELECT min({ROW}) AS first, max({ROW}) FROM {SPINE} GROUP BY {', '.join(columns)} HAVING count(*) > 1 "
        "ORDER BY first LIMIT 1"
    )


def changed_rows(columns: Sequence[str], at: str, known: ViewRelation, later: ViewRelation) -> str:
    """The query for rows of the spine for which two relations of one view have different features.

    Returns:
        SQL whose result has ``row``, the columns of the spine, ``created`` of the row of ``later``, and for each
        feature ``a0 a1 …`` of ``known``, ``b0 b1 …`` of ``later``, and ``d0 d1 …``, whether they differ; in the order
        of the spine.
    """
    at = f"s.{at}"
    _, *before = known.columns(at)
    _, *after = later.columns(at)
    pairs = list(enumerate(zip(before, after, strict=True)))
    selected = [f"s.{ROW}", *(f"s.{column}" for column in columns), f"{later.name}.created AS created"]
    selected += [f"{one} AS a{index}, {other} AS b{index}" for index, (one, other) in pairs]
    compared = [f"{one} IS DISTINCT FROM {other} AS d{index}" for index, (one, other) in pairs]
    differs = " OR ".join(f"{one} IS DISTINCT FROM {other}" for _, (one, other) in pairs)
    return (
        f"SELECT {', '.join([*selected, *compared])} FROM {SPINE} s {known.join(at)} {later.join(at)} "
        f"WHERE {differs} ORDER BY s.{ROW}"
    )
