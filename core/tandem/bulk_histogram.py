"""A histogram of Prometheus that takes many observations at once. Needs the package prometheus-client."""

from __future__ import annotations

import numpy as np
import prometheus_client
from numpy.typing import ArrayLike

# the time of creation doubles the series and tells nothing that a restart does not
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class BulkHistogram(prometheus_client.Histogram):
    """A histogram that takes many observations at once."""

    def observe_many(self, values: ArrayLike) -> None:
        """Count observations.

        Args:
            values: Numbers of any shape; NaN are left out.
        """
        array = np.asarray(values, dtype=np.float64)
        # a single NaN would make the sum NaN for good
        array = array[~np.isnan(array)]
        if not len(array):
            return
        # one lock for each bucket that changes, not one for each observation
        # a value on the edge of a bucket belongs to it: Prometheus' le is "less or equal"
        counts = np.bincount(np.searchsorted(self._upper_bounds, array, side="left"), minlength=len(self._buckets))
        for index in np.flatnonzero(counts):
            self._buckets[index].inc(int(counts[index]))
        self._sum.inc(float(array.sum()))
