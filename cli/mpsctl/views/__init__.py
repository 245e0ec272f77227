"""Answers as plain values. These are the shapes of `--json`, which only grow.

Names are snake_case, states lower case, times in UTC, durations in seconds (`_s`), counts whole numbers. What is not
known, and what there is none of, is null; lists are never null.
"""
