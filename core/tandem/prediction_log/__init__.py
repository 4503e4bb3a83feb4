"""The prediction log: what was asked, what was looked up, what the model was given, and what was answered.

A transformer appends blocks to segment files in one directory. A block holds the records of some batches, column by
column; a segment begins with its schema, so it is read without the bundle that wrote it. What is read first:
:mod:`~tandem.prediction_log.schema`, then :mod:`~tandem.prediction_log.blocks`,
:mod:`~tandem.prediction_log.segments` and :mod:`~tandem.prediction_log.spool`.
"""
