"""Benchmarks: speed, memory and latency of the daemon on a real broker, against targets and floors. See `--help`."""
