"""Parity of the modes that this installation can run; ``tandem parity``.

session.py    what modes share: the bundle, a store with what is stored for a sample, an event loop, a pair
library.py    modes that are functions: embedded, batch, streams
service.py    the transformer in this process
served.py     a pair on the loopback interface, over each of its protocols
modes.py      the list of modes
running.py    all of them over the same rows
report.py     what is printed
"""
