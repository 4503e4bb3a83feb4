"""Tandem's pair beside a stock KServe pair: same model, same features, same store, same requests."""
