"""The pause before an address is dialled again."""

INITIAL_S = 0.1
MAX_S = 10.0
"""A daemon that restarts is found again within seconds, and a thousand clients are no storm."""


def backoff_s(failures: int, jitter: float) -> float:
    """Return the pause after so many failures in a row.

    Args:
        failures: 1 or more.
        jitter: 0 up to 1, drawn by the caller.

    Source: full jitter, AWS Architecture Blog, "Exponential Backoff and Jitter".
    """
    return jitter * min(MAX_S, INITIAL_S * 2.0 ** min(failures - 1, 16))
