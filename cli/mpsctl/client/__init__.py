"""One channel to one daemon, and what its errors mean."""

from mpsctl.client.channel import Client

__all__ = ["Client"]
