"""Decisions of operators and blocked keys, applied to the partitions that are here."""
