"""Feature views and online reads of a Feast repository; needs ``tandem-core[feast]``."""
