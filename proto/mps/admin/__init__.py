"""The contract between operators and the daemon."""
