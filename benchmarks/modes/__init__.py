"""``make modes``: parity of all modes, batch beside bare ONNX Runtime, and point-in-time joins beside bare DuckDB."""
