"""An operator's hand on the control topic: what an admin service would write, without one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from mpsd.config import Control
from mpsd.core.control import EntityKey
from mpsd.core.pauses import PAUSE, Pause, Scope
from mpsd.kafka.audit import KafkaAudit
from mpsd.kafka.control_log import KafkaControlLog
from mpsd.service.control import ControlPlane

TIMEOUT_S = 10.0


class Operator:
    """Changes the control state of one group, by a plane of its own.

    Args:
        plane: started.
    """

    def __init__(self, group: str, plane: ControlPlane) -> None:
        self.group = group
        self.plane = plane

    async def change(self, key: EntityKey, document: dict[str, Any] | None, **said: Any) -> int:
        """Make a change as the admin service does; return the revision."""
        told: dict[str, Any] = {
            "who": "tester",
            "reason": "a test",
            "request_id": str(uuid4()),
            "method": "Test",
            "description": "changed",
        }
        return await self.plane.change(key, document, **{**told, **said})

    async def pause(self, scope: Scope, until_ms: int | None = None, **said: Any) -> int:
        return await self.change(
            PAUSE.entity_key(self.group, scope), PAUSE.document(Pause(scope=scope, until_ms=until_ms)), **said
        )

    async def resume(self, scope: Scope, **said: Any) -> int:
        return await self.change(PAUSE.entity_key(self.group, scope), None, **said)


@asynccontextmanager
async def operator(
    bootstrap_servers: Sequence[str], group: str, topic: str, audit: str = ""
) -> AsyncIterator[Operator]:
    """Yield a connected operator, and close it with the block.

    Args:
        topic: the control topic.
        audit: where the history goes; empty: nowhere.
    """
    options = {"bootstrap_servers": list(bootstrap_servers), "client_id": "operator"}
    control = Control(topic=topic, audit_topic=audit, audit_retention_s=0, write_timeout_s=TIMEOUT_S)
    history = KafkaAudit(control, options) if audit else None
    plane = ControlPlane(KafkaControlLog(control, options), history, [group], "operator")
    await plane.start()
    try:
        yield Operator(group, plane)
    finally:
        await plane.close()
