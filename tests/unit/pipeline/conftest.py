"""Virtual time for each test of the pipeline: a sleep costs nothing, and a deadlock raises at once."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

from tests.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return {"virtual": VirtualTimeLoop}
