"""How fast, how small, how prompt: the daemon measured on a real broker, against targets and floors. See `--help`."""
