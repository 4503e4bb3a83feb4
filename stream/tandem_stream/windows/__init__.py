"""The windows of a feature view on a stream: events become rows of the view, in the online store and in a table.

settings   of a worker
events     records to events, by partition
changelog  the topic that has the state of the windows
states     the state of each partition that this worker has
closed     closed windows as messages
online     closed windows in the online store
counting   what becomes of a batch, and its messages
metrics    what a worker is observed by
tables     tables of closed windows, to which each message is appended once
appending  from the topic of closed windows to a table
running    a worker from its settings

See ``docs/windows.md``.
"""
