"""Topic incarnations: a topic that is recreated under its name, or named alike in another cluster, is another topic.

Kafka gives each topic an id, a random UUID, when it is created. Brokers before version 2.8 know none; for them the cluster's
id and the topic's name must do, and a recreated topic cannot be told from the one before.

Source: Apache Kafka, KIP-516 (topic identifiers).
"""

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import NamedTuple

from typing_extensions import override

from mpsd.core.percent import FORM, percent_encode
from mpsd.core.record import TopicPartition

TOPIC_ID_BYTES = 16
CLUSTER_TAG_BYTES = 8


class Incarnation(NamedTuple):
    """A topic among all that have or had its name.

    Attributes:
        topic_id: the topic's UUID, 16 bytes; empty where the broker knows none.
        cluster_id: the id of the topic's cluster; empty where the broker does not say it.
    """

    topic_id: bytes = b""
    cluster_id: str = ""

    def record_prefix(self, tp: TopicPartition) -> bytes:
        """Return the beginning of the names of a partition's records; the offset follows.

        The text is visible ASCII without quotes and backslashes, so that it stands as it is in a header and in JSON.
        """
        if self.topic_id:
            return b"%b/%d/" % (urlsafe_b64encode(self.topic_id).rstrip(b"="), tp.partition)
        cluster, topic = percent_encode(self.cluster_id.encode(), FORM), percent_encode(tp.topic.encode(), FORM)
        return b"%b/%b/%d/" % (cluster, topic, tp.partition)

    @property
    def cluster_tag(self) -> bytes:
        """Return 8 bytes that stand for the cluster's id in the offset map; empty where that is not known."""
        return sha256(self.cluster_id.encode()).digest()[:CLUSTER_TAG_BYTES] if self.cluster_id else b""

    @override
    def __str__(self) -> str:
        known = self.topic_id.hex() or "unknown"
        return f"topic id {known}, cluster {self.cluster_id or 'unknown'}"


UNKNOWN = Incarnation()
"""A topic of which neither its id nor its cluster's is known."""
