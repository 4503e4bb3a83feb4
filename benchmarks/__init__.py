"""Tandem's pair beside a stock KServe pair: same model, same features, same store, same requests."""

UVLOOP = "BENCH_STOCK_UVLOOP"
"""Environment variable that puts the stock side on uvloop."""
