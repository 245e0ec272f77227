"""Decisions of the daemon: pure and synchronous. No I/O, clock, randomness or logging; time is an argument."""
