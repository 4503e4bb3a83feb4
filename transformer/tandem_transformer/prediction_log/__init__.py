"""The prediction log of a transformer: a queue before the disk, the thread that writes, and delivery to others.

The event loop only appends references to a queue. A thread makes blocks of what has gathered there and appends them to
segment files; see :mod:`tandem.prediction_log`. A process of its own delivers completed segments, where that is
configured.
"""
