"""gRPC on the hop: our HTTP/2 beside the library ``h2`` and beside grpcio.

:mod:`.messages` has the bytes; :mod:`.tandem_stack`, :mod:`.h2_stack` and :mod:`.grpcio_stack` carry them, each with a
server and a client; :mod:`.server` and :mod:`.client` are the two processes of a pair; :mod:`.measure` runs them in
turns; :mod:`.report` writes down what came of it.
"""
