"""Advances a run: it takes samples, decides, records and applies. Controller and local stack use it."""
