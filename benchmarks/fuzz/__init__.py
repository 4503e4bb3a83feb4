"""Mutated requests at both servers, over HTTP/1, HTTP/2 and gRPC: ``make fuzz``; see ``benchmarks/README.md``."""
