"""Replays: dead letters back into the lanes of their partitions, or into their topics."""
