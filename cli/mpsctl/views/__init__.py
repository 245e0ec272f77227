"""Answers of a daemon as plain values: the shapes of `--json`, which only grow.

Names are snake_case, states lower case, times in UTC, durations in seconds (`_s`), counts whole numbers. Null means that
a value is unknown or that there is none; lists are never null.
"""
