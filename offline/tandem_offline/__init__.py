"""A model offline: training sets and batch data as of a time from tables of feature views, and windows of events."""

from tandem.sources import Source
from tandem_offline.feature_table import FeatureTable
from tandem_offline.leaks import Leaks, ViewLeaks
from tandem_offline.store import OfflineStore
from tandem_offline.windows import WindowTable

__all__ = ["FeatureTable", "Leaks", "OfflineStore", "Source", "ViewLeaks", "WindowTable"]
