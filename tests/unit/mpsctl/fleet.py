"""A fleet in trouble, as the proto says it."""

import time
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mps.admin.v1 import admin_pb2 as pb

ESCAPE = "\x1b[31mred\x1b[0m"


LONG_S = 9_030.0
"""Shown as 2h30m, also half a minute later: a page that counts from now may be late on a busy machine."""


def ago(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(round((time.time() - seconds) * 1000))
    return stamp


def ref(offset: int = 1842, topic: str = "orders", partition: int = 3) -> pb.RecordRef:
    return pb.RecordRef(topic=topic, partition=partition, offset=offset)


def instance(address: str = "10.0.0.1:7070", *, answered: bool = True, revision: int = 7) -> pb.Instance:
    if not answered:
        return pb.Instance(address=address, problem="no answer within 3 s")
    return pb.Instance(
        address=address,
        answered=True,
        version="0.1.0",
        started_at=ago(90_000),
        partitions=8,
        control_revision=revision,
    )


def provenance(reason: str = "deploy") -> pb.Provenance:
    return pb.Provenance(who="anna", changed_at=ago(LONG_S), reason=reason, revision=7)


def flow(lag: int = 0, age_s: int = 0, **counts: Any) -> pb.Flow:
    made = pb.Flow(lag_records=lag, **counts)
    if age_s:
        made.lag_age.CopyFrom(Duration(seconds=age_s))
        made.oldest.CopyFrom(ref())
    return made


def partition(**values: Any) -> pb.PartitionStatus:
    given: dict[str, Any] = {
        "topic": "orders",
        "partition": 3,
        "instance": "10.0.0.1:7070",
        "epoch": 4,
        "state": "running",
        "flow": flow(58, 840),
        "next_offset": 1842,
        "log_end": 1900,
    }
    return pb.PartitionStatus(**{**given, **values})


def unheard(why: str) -> pb.PartitionStatus:
    return pb.PartitionStatus(
        topic="orders",
        partition=5,
        instance="10.0.0.9:7070",
        state="unknown",
        state_severity=pb.SEVERITY_ERROR,
        state_reason=why,
        next_offset=-1,
        log_end=-1,
    )


def status(
    *instances: pb.Instance, reason: str = "connection refused by http://invoices.example.com:8000/orders"
) -> pb.Status:
    return pb.Status(
        taken_at=ago(0),
        subscriptions=[
            pb.SubscriptionStatus(
                name="billing",
                group="billing",
                state="running",
                state_severity=pb.SEVERITY_OK,
                partition_states=[pb.StateCount(state="running", severity=pb.SEVERITY_OK, partitions=2)],
                flow=flow(1_204, 3, pending_records=4_210, in_flight_records=64, backing_off_records=12),
                delivered_per_s=812.4,
                dead_letters=3,
                unresolved_dead_letters=2,
                limit=pb.LimitState(rate_max_per_s=200, provenance=provenance("the database is slow")),
                partitions=[partition(), partition(partition=4, instance="", next_offset=-1)],
            ),
            pb.SubscriptionStatus(
                name="invoices-of-every-country-with-a-long-name",
                group="invoices",
                state="endpoint-out",
                state_severity=pb.SEVERITY_ERROR,
                state_reason=reason,
                flow=flow(88_102, 840, pending_records=10_000, in_flight_records=1),
            ),
            pb.SubscriptionStatus(
                name="mail",
                group="mail",
                state="paused",
                state_severity=pb.SEVERITY_WARNING,
                pauses=[
                    pb.PauseState(
                        selection=pb.Selection(subscription="mail", topic="letters", partition=1, key=b"\xff\x00"),
                        until=ago(-1_600),
                        provenance=provenance(),
                    )
                ],
                tightest=partition(topic="letters", partition=1, paused_lanes=1, room_records=97, room_bytes=4 << 20),
                last_failure=pb.Failure(
                    record=ref(17, "letters", 1),
                    failed_at=ago(60),
                    reason=f"answered 422: body.order: Field required (missing){ESCAPE}",
                    code="delivery.status_422",
                    dead_lettered=True,
                ),
            ),
        ],
        instances=list(instances) or [instance(), instance("10.0.0.2:7070")],
        departures=[pb.Departure(address="10.0.0.7:7070", left_at=ago(720))],
        states=["running", "starting", "paused", "unknown", "endpoint-out"],
    )


def lanes() -> pb.InspectResponse:
    return pb.InspectResponse(
        lanes=[
            pb.Lane(
                head=ref(),
                key=b"customer-17",
                records=4,
                state="backing-off",
                until=ago(-12),
                attempts=3,
                last_outcome=f"500 from the application {ESCAPE}",
                read_at=ago(840),
                blocks_commit=True,
                value=b"\xff\xfe",
            ),
            pb.Lane(head=ref(1_850), records=1, state="in-flight", read_at=ago(1)),
        ],
        partitions=[partition()],
        instances=[instance()],
    )


def dead_letter(offset: int = 1842) -> pb.DeadLetter:
    return pb.DeadLetter(
        source=ref(offset),
        dead_letter=ref(9, "orders.billing.dlq"),
        key=b"customer-17",
        disposition=pb.DISPOSITION_REJECTED,
        status=422,
        reason="amount is not a number",
        attempts=1,
        replays=1,
        dead_lettered_at=ago(60),
        first_failed_at=ago(61),
    )


def group(records: int = 40) -> pb.DeadLetterGroup:
    return pb.DeadLetterGroup(
        name="rejected, 422: amount is not a number",
        records=records,
        first_at=ago(900),
        last_at=ago(60),
        sample=dead_letter(),
    )


def replay(state: "pb.ReplayState.ValueType" = pb.REPLAY_STATE_RUNNING, sent: int = 20) -> pb.Replay:
    return pb.Replay(
        id="01JD6Z",
        plan=pb.ReplayPlan(subscription="billing", filter=pb.DeadLetterFilter(statuses=[422])),
        state=state,
        matched_records=40,
        sent_records=sent,
        succeeded_records=sent - 1,
        failed_records=1,
        sent_per_s=10,
        started_at=ago(5),
        provenance=provenance("too slow"),
        started_by="anna",
        started_reason="deploy",
    )


def changed(*instances: pb.Instance, confirmed: bool = True) -> pb.Changed:
    return pb.Changed(
        revision=7, confirmed=confirmed, instances=list(instances) or [instance(), instance("10.0.0.2:7070")]
    )


ANSWERS: dict[str, Any] = {
    "GetStatus": pb.GetStatusResponse(status=status()),
    "Inspect": lanes(),
    "Pause": pb.PauseResponse(changed=changed()),
    "Resume": pb.ResumeResponse(changed=changed()),
    "Limit": pb.LimitResponse(changed=changed()),
    "Skip": pb.SkipResponse(dead_letter=ref(9, "orders.billing.dlq")),
    "Reset": lambda request, _: pb.ResetResponse(
        id="" if request.dry_run else "r-1",
        partitions=[
            pb.ResetPartition(topic="orders", partition=3, from_offset=1842, to_offset=1800, repeated_records=42),
            pb.ResetPartition(topic="orders", partition=4, from_offset=-1, to_offset=10, skipped_records=10),
        ],
        changed=None if request.dry_run else changed(),
    ),
    "ListDeadLetters": pb.ListDeadLettersResponse(dead_letters=[dead_letter()]),
    "SummarizeDeadLetters": pb.SummarizeDeadLettersResponse(groups=[group(), group(2)], other_records=7),
    "GetDeadLetter": pb.GetDeadLetterResponse(
        dead_letter=dead_letter(),
        headers=[pb.Header(name="trace", value=b"\x00\xff"), pb.Header(name="null")],
        excerpt=b"no\nnumber",
    ),
    "PreviewReplay": pb.PreviewReplayResponse(
        matched_records=40,
        quarantined_records=2,
        replayed_records=1,
        keys=9,
        largest_key_records=4,
        groups=[group()],
        samples=[dead_letter()],
        takes=Duration(seconds=4),
    ),
    "StartReplay": pb.StartReplayResponse(replay=replay(), changed=changed()),
    "ControlReplay": pb.ControlReplayResponse(replay=replay(pb.REPLAY_STATE_PAUSED), changed=changed()),
    "GetReplay": pb.GetReplayResponse(replay=replay(pb.REPLAY_STATE_DONE, 40)),
    "ListReplays": pb.ListReplaysResponse(replays=[replay(), replay(pb.REPLAY_STATE_DONE)]),
    "ListAudit": pb.ListAuditResponse(
        entries=[
            pb.AuditEntry(
                provenance=provenance(),
                method="Pause",
                subscription="billing",
                description="paused billing for 30 min",
                request_id="r1",
                instance="10.0.0.1:7070",
            )
        ]
    ),
    "Diagnose": pb.DiagnoseResponse(
        findings=[
            pb.Finding(
                severity=pb.SEVERITY_ERROR,
                code="kafka.unavailable",
                subject="topic orders.billing.dlq",
                message="cannot be written: not authorized",
                advice="grant Write to mps",
                instances=["10.0.0.1:7070", "10.0.0.2:7070"],
            ),
            pb.Finding(severity=pb.SEVERITY_OK, subject="broker", message="answers", instances=["10.0.0.1:7070"]),
        ],
        instances=[instance(), instance("10.0.0.2:7070")],
    ),
    "GetVersion": pb.GetVersionResponse(version="0.1.0", python_version="3.11.7", address="10.0.0.1:7070"),
}
"""The answers of a daemon of a fleet in trouble."""
