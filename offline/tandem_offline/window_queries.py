"""The SQL of windows: events by window, without those that came too late. Pure: text in, text out.

Columns of the relation ``events``: the view's keys ``k0 k1 …``, the event time ``t``, columns of statistics ``x0 x1
…``, ``row``, and ``p`` and ``o`` where the table tells partition and offset. Times in a result are microseconds since
1970.

The rules are those of :mod:`tandem.windows.grouping`. The statistics are not computed here: sums of DuckDB are rounded,
and so they depend on the order in which it adds.
"""

from __future__ import annotations

from dataclasses import dataclass

from tandem.windows.definition import Window
from tandem_offline.scanning import ROW

EVENTS = "events"
"""Relation of the events."""


@dataclass(frozen=True)
class WindowQuery:
    """Windows over the relation of events.

    Attributes:
        window: The windows.
        keys: Number of the view's keys.
        columns: Number of columns of statistics.
        has_partition: Whether the table tells the partition of each event.
        has_offset: Whether it tells the place of each event within its partition; otherwise events arrived in the order
            of the table.
    """

    window: Window
    keys: int
    columns: int
    has_partition: bool
    has_offset: bool

    @property
    def closed(self) -> str:
        """The events of all windows that are closed at the end, window by window.

        Returns:
            SQL whose result has ``p``, the keys as text, ``began`` and ``ended`` of the window, then ``t``, ``row`` and
            the columns of statistics; by end, keys, partition and beginning of the window.
        """
        window = ["p", *self._keys, "began", "ended"]
        selected = ", ".join([*window, "t", ROW, *self._columns])
        order = ", ".join(["ended", *self._keys, "p", "began"])
        closes = f"ended + {self.window.grace_us} <= watermark"
        if self.window.gap_us is None:
            accepted = f"t < ended AND ended + {self.window.grace_us} > mark"
            return f"{self._fixed} SELECT {selected} FROM assigned WHERE {accepted} AND {closes} ORDER BY {order}"
        return f"{self._sessions(self.window.gap_us)} SELECT {selected} FROM assigned WHERE {closes} ORDER BY {order}"

    @property
    def late(self) -> str:
        """The rows of events that came too late for one of their windows, or for all; each once, ascending."""
        if self.window.gap_us is not None:
            return f"{self._arrivals} SELECT {ROW} FROM arrivals WHERE t + {self.window.grace_us} < mark ORDER BY {ROW}"
        too_late = f"t < ended AND ended + {self.window.grace_us} <= mark"
        return f"{self._fixed} SELECT DISTINCT {ROW} FROM assigned WHERE {too_late} ORDER BY {ROW}"

    @property
    def _keys(self) -> list[str]:
        return [f"k{index}" for index in range(self.keys)]

    @property
    def _columns(self) -> list[str]:
        return [f"x{index}" for index in range(self.columns)]

    @property
    def _arrivals(self) -> str:
        """Events with the watermark at their arrival, ``mark``, and that at the end."""
        partition = "p" if self.has_partition else "0"
        order = f"o, {ROW}" if self.has_offset else ROW
        over = f"PARTITION BY {partition}"
        selected = [
            f"{partition} AS p",
            *(f"CAST({key} AS VARCHAR) AS {key}" for key in self._keys),
            "epoch_us(t) AS t",
            ROW,
            *self._columns,
            f"max(epoch_us(t)) OVER ({over} ORDER BY {order} ROWS UNBOUNDED PRECEDING) AS mark",
            f"max(epoch_us(t)) OVER ({over}) AS watermark",
        ]
        return f"WITH arrivals AS (SELECT {', '.join(selected)} FROM {EVENTS})"

    @property
    def _fixed(self) -> str:
        """Events in each window of a fixed size that may contain them."""
        size, hop = self.window.size_us, self.window.hop_us
        # the remainder of a negative time is negative
        began = f"t - ((t % {hop}) + {hop}) % {hop} - {hop} * number"
        windows = f"range({self.window.windows_per_event}) AS windows(number)"
        begins = f"begins AS (SELECT *, {began} AS began FROM arrivals, {windows})"
        return f"{self._arrivals}, {begins}, assigned AS (SELECT *, began + {size} AS ended FROM begins)"

    def _sessions(self, gap: int) -> str:
        """Events that are not too late, in the window that they make together."""
        entity = ", ".join(["p", *self._keys])
        order = f"(PARTITION BY {entity} ORDER BY t, {ROW})"
        session = f"(PARTITION BY {entity}, session)"
        opens = f"CASE WHEN t - lag(t) OVER {order} < {gap} THEN 0 ELSE 1 END AS opens"
        until = f"(PARTITION BY {entity} ORDER BY t, {ROW} ROWS UNBOUNDED PRECEDING)"
        return (
            f"{self._arrivals}, accepted AS (SELECT * FROM arrivals WHERE t + {self.window.grace_us} >= mark), "
            f"marked AS (SELECT *, {opens} FROM accepted), "
            f"numbered AS (SELECT *, sum(opens) OVER {until} AS session FROM marked), "
            f"assigned AS (SELECT *, min(t) OVER {session} AS began, max(t) OVER {session} + {gap} AS ended "
            "FROM numbered)"
        )
