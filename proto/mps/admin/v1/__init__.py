"""The contract between operators and the daemon, version 1."""
