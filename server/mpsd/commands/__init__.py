"""The commands of `mpsd`: a module for each kind, which imports what a command needs only when it is called."""

from mpsd.commands import check, files, serve, tryout  # noqa: F401 - each adds its commands, in this order
from mpsd.commands.app import app

__all__ = ["app"]
