"""Requests that the client library does not have, or only in versions that are too old.

Source: Apache Kafka's protocol, Metadata version 10, DescribeGroups version 3, ConsumerGroupDescribe and
DescribeProducers version 0.
"""

from collections.abc import Collection
from io import BytesIO

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    Boolean,
    Bytes,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)
from typing_extensions import override

NO_ID = bytes(16)
_TEXT = CompactString("utf-8")
_OLD_TEXT = String("utf-8")
_NOT_SAID = -(1 << 31)
_OPERATIONS = {3: "Read", 4: "Write", 5: "Create", 8: "Describe", 10: "DescribeConfigs"}
"""Operations of access control lists, by their number in the protocol."""


def rights(bits: int) -> frozenset[str] | None:
    """Return the operations that a broker lists as authorized; None where the broker did not say."""
    if bits == _NOT_SAID:
        return None
    return frozenset(name for number, name in _OPERATIONS.items() if bits >> number & 1)


class _Uuid:
    @staticmethod
    def encode(value: bytes) -> bytes:
        return value

    @staticmethod
    def decode(data: BytesIO) -> bytes:
        return data.read(16)

    @staticmethod
    def repr(value: bytes) -> str:
        return value.hex()


class _MetadataResponse(Response):  # type: ignore[misc]  # the library is not typed
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", TaggedFields)),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("id", _Uuid), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class Metadata(Request[_MetadataRequest]):  # type: ignore[misc]
    """A request for the metadata of topics; asking creates none of them.

    Args:
        topics: by name.
        with_rights: ask for the operations that the user is allowed as well.
    """

    API_KEY = 3

    def __init__(self, topics: Collection[str], *, with_rights: bool = False) -> None:
        self._topics = topics
        self._with_rights = with_rights

    @override
    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        topics: list[tuple[bytes, str, dict[int, bytes]]] = [(NO_ID, topic, {}) for topic in self._topics]
        return request_struct_class(topics, False, False, self._with_rights, {})


class _GroupResponse(Response):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", _OLD_TEXT),
                ("state", _OLD_TEXT),
                ("protocol_type", _OLD_TEXT),
                ("protocol", _OLD_TEXT),
                (
                    "members",
                    Array(
                        ("member_id", _OLD_TEXT),
                        ("client_id", _OLD_TEXT),
                        ("client_host", _OLD_TEXT),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
    )


class _GroupRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = _GroupResponse
    SCHEMA = Schema(("groups", Array(_OLD_TEXT)), ("include_authorized_operations", Boolean))


class GroupRights(Request[_GroupRequest]):  # type: ignore[misc]
    """A request for the operations that the user is allowed on a group; to be sent to its coordinator."""

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    @override
    def build(self, request_struct_class: type[_GroupRequest]) -> _GroupRequest:
        return request_struct_class([self._group], True)


class _NewGroupResponse(Response):  # type: ignore[misc]
    API_KEY = 69
    API_VERSION = 0
    SCHEMA = Schema(  # of one group, and no further than its state
        ("throttle_time_ms", Int32),
        (
            "groups",
            CompactArray(("error_code", Int16), ("error_message", _TEXT), ("group", _TEXT), ("state", _TEXT)),
        ),
    )


class _NewGroupRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 69
    API_VERSION = 0
    RESPONSE_TYPE = _NewGroupResponse
    SCHEMA = Schema(("groups", CompactArray(_TEXT)), ("include_authorized_operations", Boolean), ("tags", TaggedFields))


class NewProtocolGroup(Request[_NewGroupRequest]):  # type: ignore[misc]
    """A request for the state of a group of the consumer protocol (KIP-848); to be sent to its coordinator.

    A group of the classic protocol is unknown to it.
    """

    API_KEY = 69

    def __init__(self, group: str) -> None:
        self._group = group

    @override
    def build(self, request_struct_class: type[_NewGroupRequest]) -> _NewGroupRequest:
        return request_struct_class([self._group], False, {})


class _ProducersResponse(Response):  # type: ignore[misc]
    API_KEY = 61
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("error_message", _TEXT),
                        (
                            "producers",
                            CompactArray(
                                ("id", Int64),
                                ("epoch", Int32),
                                ("last_sequence", Int32),
                                ("last_timestamp", Int64),
                                ("coordinator_epoch", Int32),
                                ("transaction_start", Int64),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ProducersRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 61
    API_VERSION = 0
    RESPONSE_TYPE = _ProducersResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("name", _TEXT), ("partitions", CompactArray(Int32)), ("tags", TaggedFields))),
        ("tags", TaggedFields),
    )


class Producers(Request[_ProducersRequest]):  # type: ignore[misc]
    """A request for the producers of a partition, and their open transactions; to be sent to its leader."""

    API_KEY = 61

    def __init__(self, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = partition

    @override
    def build(self, request_struct_class: type[_ProducersRequest]) -> _ProducersRequest:
        return request_struct_class([(self._topic, [self._partition], {})], {})
