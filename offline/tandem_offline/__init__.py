"""A model offline: point-in-time training sets and batch data from the tables of its feature views."""

from tandem.sources import Source
from tandem_offline.feature_table import FeatureTable
from tandem_offline.leaks import Leaks, ViewLeaks
from tandem_offline.store import OfflineStore

__all__ = ["FeatureTable", "Leaks", "OfflineStore", "Source", "ViewLeaks"]
