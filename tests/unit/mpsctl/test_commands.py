"""Commands of an operator, and their output."""

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from pydantic import TypeAdapter
from typer.completion import get_completion_inspect_parameters
from typer.testing import CliRunner

from docs.commands import _commands
from docs.mpsctl_json import PRINTED
from mps.admin.v1 import admin_pb2 as pb
from mpsctl import __version__
from mpsctl.__main__ import app
from mpsctl.commands import arguments
from tests.unit.mpsctl import fleet
from tests.unit.mpsctl.conftest import Daemon, Run, serve

VIEWS = {view.__name__: view for view in PRINTED}
EVERY = {
    "status": "Status",
    "status billing --partitions": "Status",
    "inspect billing --blocked --values": "Queues",
    "skip billing orders/3@1842 --reason why --yes": "Skipped",
    "pause billing --for 30m --reason why": "Changed",
    "resume billing --key k": "Changed",
    "limit billing --rate 200/s --concurrency 16": "Changed",
    "limit billing --clear": "Changed",
    "dlq ls billing --since 2h --status 422 --group-by key": "Summary",
    "dlq ls billing --each": "DeadLetters",
    "dlq show billing orders/3@1842": "WholeDeadLetter",
    "replay-dlq billing --dry-run": "Preview",
    "replay-dlq billing --to topic --rate 10/s --yes": "Replay",
    "replay-dlq billing --wait --yes": "Replay",
    "replay ls billing": "Replays",
    "replay show 01JD6Z": "Replay",
    "replay pause 01JD6Z": "Replay",
    "replay cancel 01JD6Z --yes": "Replay",
    "reset billing --to 2h --dry-run": "Reset",
    "reset billing --to orders/3@1800,orders/4@10 --yes": "Reset",
    "audit billing --since 2d": "History",
    "version": "Versions",
}
"""Every command that ends with 0 on the scripted fleet, and what its --json is."""


@pytest.fixture
def failed_before(daemon: Daemon) -> Daemon:
    daemon.answers = dict(fleet.ANSWERS)
    return daemon


def details(reason: str = "", field: str = "", **metadata: str) -> bytes:
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, metadata=metadata))
    if field:
        wrong = error_details_pb2.BadRequest.FieldViolation(field=field, description="out of range: 0 to 3")
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[wrong]))
    packed: bytes = status.SerializeToString()
    return packed


def refusing(code: grpc.StatusCode, message: str, packed: bytes | None = None) -> Any:
    def answer(_: Any, context: grpc.ServicerContext) -> None:
        if packed is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", packed),))
        context.abort(code, message)

    return answer


@pytest.mark.parametrize("words", EVERY)
def test_every_command_shows_a_page_without_colour_in_a_pipe(words: str, failed_before: Daemon, mpsctl: Run) -> None:
    ran = mpsctl(*words.split())
    assert (ran.code, ran.out.strip() != "") == (0, True), ran.err
    assert "\x1b" not in ran.out


@pytest.mark.parametrize(("words", "name"), EVERY.items())
def test_every_command_prints_what_the_reference_says(
    words: str, name: str, failed_before: Daemon, mpsctl: Run
) -> None:
    ran = mpsctl(*words.split(), "--json")
    assert ran.code == 0, ran.err
    adapter: TypeAdapter[Any] = TypeAdapter(VIEWS[name])
    adapter.validate_json(ran.out, strict=True)
    expected = set(VIEWS[name].__dataclass_fields__)
    assert ran.json.keys() == expected


@pytest.mark.parametrize("words", list(_commands(app)), ids=" ".join)
def test_every_help_has_an_example_and_fits(words: list[str]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"], prog_name="mpsctl", env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"  {' '.join(['mpsctl', *words])}" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_status_says_what_is_wrong_under_each_subscription(failed_before: Daemon, mpsctl: Run) -> None:
    out = mpsctl("status").out
    assert "endpoint-out" in out
    assert "  connection refused by http://invoices.example.com:8000/orders\n" in out
    assert "paused: mail, partition letters/1, key base64:/wA=" in out
    assert "letters/1 has room for 97 records or 4.0 MiB more, then all its keys wait" in out
    assert "limited to 200/s, by anna" in out
    words = (
        r"letters/1@17: answered 422: body.order: Field required (missing)\x1b[31mred\x1b[0m; it becomes a dead letter"
    )
    assert words in " ".join(out.split())


def test_a_failure_of_long_ago_is_not_in_the_status(mpsctl: Run, failed_before: Daemon) -> None:
    answer = pb.GetStatusResponse(status=fleet.status())
    answer.status.subscriptions[2].last_failure.failed_at.CopyFrom(fleet.ago(3_600))
    failed_before.answers["GetStatus"] = answer
    assert "answered 422" not in mpsctl("status").out


def test_what_others_wrote_cannot_steer_the_terminal(failed_before: Daemon, mpsctl: Run) -> None:
    assert r"\x1b[31mred\x1b[0m" in mpsctl("inspect", "billing").out


def test_a_daemon_that_does_not_answer_makes_it_partly(failed_before: Daemon, mpsctl: Run) -> None:
    status = fleet.status(fleet.instance(), fleet.instance("10.0.0.9:7070", answered=False))
    failed_before.answers["GetStatus"] = pb.GetStatusResponse(status=status)
    ran = mpsctl("status")
    assert ran.code == 3
    assert "DAEMONS, 1 OF 2 ANSWER" in ran.out
    assert "no answer within 3 s" in ran.out


def test_partitions_of_a_daemon_that_does_not_answer_are_its_own_and_unknown(
    failed_before: Daemon, mpsctl: Run
) -> None:
    why = "the daemon that has it does not answer: no answer within 3 s"
    unheard = fleet.unheard(why)
    status = fleet.status(fleet.instance(), fleet.instance("10.0.0.9:7070", answered=False))
    status.subscriptions[0].partitions.append(unheard)
    failed_before.answers["GetStatus"] = pb.GetStatusResponse(status=status)
    ran = mpsctl("status", "--partitions")
    assert (ran.code, why in ran.out) == (3, True), ran
    said = mpsctl("status", "--partitions", "--json").json["subscriptions"][0]["partitions"][-1]
    assert (said["instance"], said["state"], said["flow"], said["log_end"]) == ("10.0.0.9:7070", "unknown", None, None)
    failed_before.answers["Inspect"] = pb.InspectResponse(partitions=[unheard], instances=[fleet.instance()])
    assert f"orders/5: {why}" in mpsctl("inspect", "billing").out


def test_a_sum_that_lacks_partitions_says_so(failed_before: Daemon, mpsctl: Run) -> None:
    status = fleet.status(fleet.instance(), fleet.instance("10.0.0.9:7070", answered=False))
    billing = status.subscriptions[0]
    billing.state, billing.state_severity, billing.state_reason = "unknown", pb.SEVERITY_ERROR, "orders/5: no answer"
    billing.missing_partitions = 4
    billing.partition_states.append(pb.StateCount(state="unknown", severity=pb.SEVERITY_ERROR, partitions=4))
    failed_before.answers["GetStatus"] = pb.GetStatusResponse(status=status)
    out = mpsctl("status").out
    assert re.search(r"^billing +unknown +1,204 +≥3s +≥812/s +≥64 +≥4,210 +≥12 ", out, re.MULTILINE), out
    assert "  sums are partial: 4 of 6 partitions are missing; LAG is complete, from Kafka\n" in out
    said = mpsctl("status", "--json").json["subscriptions"][0]
    assert (said["partial"], said["missing_partitions"], said["lag_missing_partitions"]) == (True, 4, 0)
    billing.lag_missing_partitions = 1
    failed_before.answers["GetStatus"] = pb.GetStatusResponse(status=status)
    out = mpsctl("status").out
    assert re.search(r"^billing +unknown +≥1,204 ", out, re.MULTILINE), out
    assert "are missing; LAG is partial too\n" in out


def test_who_left_lately_is_named_with_the_time(failed_before: Daemon, mpsctl: Run) -> None:
    assert re.search(r"^10\.0\.0\.7:7070 left \S.*, 12m ago$", mpsctl("status").out, re.MULTILINE)
    assert mpsctl("status", "--json").json["departures"][0]["address"] == "10.0.0.7:7070"


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ("endpoint-out", 5),
        ("unknown, paused", 5),
        ("unknown", 0),
        ("starting,unknown", 0),
        ("error", 5),
        ("warning", 5),
        ("starting, error", 5),
        ("", 0),
    ],
)
def test_a_script_may_fail_on_states(failed_before: Daemon, mpsctl: Run, named: str, code: int) -> None:
    ran = mpsctl("status", "--fail-on", named)
    assert (ran.code, "billing" in ran.out) == (code, True), ran


def test_a_state_of_one_partition_is_enough_to_fail_on(failed_before: Daemon, mpsctl: Run) -> None:
    status = fleet.status(fleet.instance("10.0.0.9:7070", answered=False))
    failed_before.answers["GetStatus"] = pb.GetStatusResponse(status=status)
    assert mpsctl("status", "--fail-on", "starting").code == 3
    status.subscriptions[0].partition_states.append(
        pb.StateCount(state="starting", severity=pb.SEVERITY_WARNING, partitions=1)
    )
    failed_before.answers["GetStatus"] = pb.GetStatusResponse(status=status)
    assert mpsctl("status", "--fail-on", "starting").code == 5


def test_what_is_no_state_is_not_waited_for_in_vain(failed_before: Daemon, mpsctl: Run) -> None:
    ran = mpsctl("status", "--fail-on", "endpoint-down")
    assert (ran.code, ran.out) == (2, "")
    assert "endpoint-down is no state" in ran.err
    assert "running, starting, paused, unknown, endpoint-out; or warning or error" in ran.err
    assert mpsctl("status", "--fail-on", "error", "--watch").code == 2


def test_a_pause_names_the_one_that_it_replaces(failed_before: Daemon, mpsctl: Run) -> None:
    changed = fleet.changed(fleet.instance("a:7070"))
    selection = pb.Selection(subscription="billing")
    pause = pb.PauseState(selection=selection, until=fleet.ago(-fleet.LONG_S), provenance=fleet.provenance("looking"))
    changed.replaced.CopyFrom(pause)
    failed_before.answers["Pause"] = pb.PauseResponse(changed=changed)
    out = mpsctl("pause", "billing", "--reason", "why", "--for", "1.5s").out
    assert "✓ paused billing for 1.5s; confirmed by the daemon\n" in out
    assert "  it replaces the pause by anna 2h30m ago: looking, which had 2h30m left\n" in out


def test_a_replay_that_was_cancelled_already_is_said_to_be(failed_before: Daemon, mpsctl: Run) -> None:
    answer = failed_before.answers["ControlReplay"]
    answer.changed.unchanged = True
    out = mpsctl("replay", "cancel", "r1", "--yes").out
    assert "already: nothing was changed; confirmed by" in out


def test_a_change_that_is_not_confirmed_names_who_is_missing(failed_before: Daemon, mpsctl: Run) -> None:
    behind, silent = fleet.instance("b:7070", revision=6), fleet.instance("c:7070", answered=False)
    changed = fleet.changed(fleet.instance("a:7070"), behind, silent, confirmed=False)
    failed_before.answers["Pause"] = pb.PauseResponse(changed=changed)
    ran = mpsctl("pause", "billing", "--reason", "why")
    assert ran.code == 3
    assert "a:7070" not in ran.out
    assert "b:7070: has not applied it yet" in ran.out
    assert "c:7070: no answer" in ran.out


def test_to_take_back_what_is_not_there_is_done_and_said(failed_before: Daemon, mpsctl: Run) -> None:
    nothing = pb.Changed(revision=7, confirmed=True, instances=[fleet.instance()], unchanged=True)
    failed_before.answers["Resume"] = pb.ResumeResponse(changed=nothing)
    failed_before.answers["Limit"] = pb.LimitResponse(changed=nothing)
    ran = mpsctl("resume", "billing", "--key", "k1")
    assert (ran.code, "billing, key k1: nothing to resume, it is not paused" in ran.out) == (0, True), ran
    ran = mpsctl("limit", "billing", "--clear")
    assert (ran.code, "billing: no limit to clear" in ran.out) == (0, True), ran
    assert mpsctl("resume", "billing", "--json").json["unchanged"] is True


def test_blocked_keys_are_shown_where_there_are_any_with_what_to_do(failed_before: Daemon, mpsctl: Run) -> None:
    assert "blocked" not in mpsctl("status", "--partitions").out
    said = fleet.status()
    said.subscriptions[0].blocked_keys = 3
    said.subscriptions[0].partitions[0].blocked_keys = 1
    failed_before.answers["GetStatus"] = pb.GetStatusResponse(status=said)
    ran = mpsctl("status", "--partitions")
    assert "3 keys blocked behind dead letters" in ran.out
    assert "mpsctl dlq ls billing --disposition blocked --group-by key" in ran.out
    assert "mpsctl replay-dlq billing --key KEY" in ran.out
    assert "1 key blocked behind dead letters" in ran.out
    shown = mpsctl("status", "--json").json["subscriptions"][0]
    assert (shown["blocked_keys"], shown["partitions"][0]["blocked_keys"]) == (3, 1)


@pytest.mark.parametrize(
    ("blocked", "words"),
    [
        (2, "delivers the 2 records blocked behind it, and releases its key"),
        (1, "delivers the 1 record blocked behind it"),
        (0, "replay r12 releases its key"),
        (None, "delivers the records blocked behind it"),
    ],
)
def test_a_skip_that_lets_a_key_go_names_its_replay(
    failed_before: Daemon, mpsctl: Run, blocked: int | None, words: str
) -> None:
    dead_letter = fleet.ref(9, "orders.billing.dlq")
    failed_before.answers["Skip"] = pb.SkipResponse(dead_letter=dead_letter, replay_id="r12", blocked_records=blocked)
    ran = mpsctl("skip", "billing", "orders/3@1842", "--reason", "why", "--yes")
    assert words in " ".join(ran.out.split())
    assert "mpsctl replay show r12" in ran.out
    shown = mpsctl("skip", "billing", "orders/3@1842", "--reason", "why", "--yes", "--json").json
    assert (shown["replay_id"], shown["blocked_records"]) == ("r12", blocked)


@pytest.mark.parametrize("command", ["replay-dlq billing --yes", "replay pause 01JD6Z", "replay cancel 01JD6Z --yes"])
def test_a_replay_that_not_all_know_of_names_who_is_missing(failed_before: Daemon, mpsctl: Run, command: str) -> None:
    changed = fleet.changed(fleet.instance("a:7070"), fleet.instance("c:7070", answered=False), confirmed=False)
    failed_before.answers["StartReplay"] = pb.StartReplayResponse(replay=fleet.replay(), changed=changed)
    failed_before.answers["ControlReplay"] = pb.ControlReplayResponse(replay=fleet.replay(), changed=changed)
    ran = mpsctl(*command.split())
    assert ran.code == 3
    assert "not confirmed by all" in ran.out
    assert "c:7070: no answer" in ran.out
    said = mpsctl(*command.split(), "--json").json["changed"]
    assert (said["confirmed"], [each["answered"] for each in said["instances"]]) == (False, [True, False])


def test_what_is_typed_reaches_the_daemon(failed_before: Daemon, mpsctl: Run) -> None:
    mpsctl("pause", "billing", "--partition", "orders/3", "--key-base64", "/wA=", "--for", "1h30m", "--reason", " why ")
    (request,) = failed_before.requests("Pause")
    assert request.selection == pb.Selection(subscription="billing", topic="orders", partition=3, key=b"\xff\x00")
    assert (request.lasts.ToSeconds(), request.change.reason) == (5400, "why")
    mpsctl("dlq", "ls", "billing", "--disposition", "attempts-exhausted", "--status", "500", "--reason-contains", "no")
    (asked,) = failed_before.requests("SummarizeDeadLetters")
    assert list(asked.filter.dispositions) == [pb.DISPOSITION_ATTEMPTS_EXHAUSTED]
    assert (list(asked.filter.statuses), asked.filter.reason_contains) == ([500], "no")


def test_a_limit_keeps_what_it_does_not_name(failed_before: Daemon, mpsctl: Run) -> None:
    mpsctl("limit", "billing", "--concurrency", "4")
    mpsctl("limit", "billing", "--clear")
    kept, cleared = failed_before.requests("Limit")
    assert (kept.rate_max_per_s, kept.concurrency_max, kept.change.expected_revision) == (200, 4, 7)
    assert not cleared.HasField("rate_max_per_s")
    assert not cleared.HasField("concurrency_max")


def test_pages_are_followed_up_to_the_limit(failed_before: Daemon, mpsctl: Run) -> None:
    def page(request: pb.ListDeadLettersRequest, _: Any) -> pb.ListDeadLettersResponse:
        first = int(request.page_token or 0)
        dead_letters = [fleet.dead_letter(offset) for offset in range(first, first + 2)]
        return pb.ListDeadLettersResponse(dead_letters=dead_letters, next_page_token=str(first + 2))

    failed_before.answers["ListDeadLetters"] = page
    found = mpsctl("dlq", "ls", "billing", "--each", "--limit", "5", "--json").json
    assert [each["source"]["offset"] for each in found["dead_letters"]] == [0, 1, 2, 3, 4]
    assert found["more"] is True


@pytest.mark.parametrize(
    "words",
    ["skip billing orders/3@1 --reason x", "replay-dlq billing", "reset billing --to latest", "replay cancel 01JD6Z"],
)
def test_what_can_repeat_or_drop_records_is_not_done_without_a_yes(
    words: str, failed_before: Daemon, mpsctl: Run
) -> None:
    ran = mpsctl(*words.split())
    assert ran.code == 2
    assert "--yes" in ran.err
    for request in (request for _, request in failed_before.asked if hasattr(request, "change")):
        assert request.dry_run


def test_a_replay_to_the_topic_says_who_sees_it(failed_before: Daemon, mpsctl: Run) -> None:
    assert "EVERY group receives them" in mpsctl("replay-dlq", "billing", "--to", "topic").err
    ran = mpsctl("replay-dlq", "billing", "--to", "topic", "--yes", "--json")
    assert len(failed_before.requests("StartReplay")) == 1
    assert "EVERY group" in ran.err, "also where nobody is asked"
    assert not mpsctl("replay-dlq", "billing", "--yes", "--json").err


def test_a_check_up_that_found_an_error_fails_and_says_what_to_do(failed_before: Daemon, mpsctl: Run) -> None:
    ran = mpsctl("doctor")
    assert ran.code == 1
    assert "grant Write to mps" in ran.out
    assert "✗ topic orders.billing.dlq: cannot be written: not authorized (all 2 daemons)\n" in ran.out
    assert "✓ broker: answers (10.0.0.1:7070)\n" in ran.out
    assert mpsctl("doctor", "--json").json["ok"] is False


def test_waiting_for_a_replay_that_fails_fails(failed_before: Daemon, mpsctl: Run) -> None:
    failed_before.answers["GetReplay"] = pb.GetReplayResponse(replay=fleet.replay(pb.REPLAY_STATE_FAILED))
    assert mpsctl("replay", "show", "01JD6Z", "--wait").code == 1


@pytest.mark.parametrize(
    ("code", "packed", "exit_code", "words"),
    [
        (
            grpc.StatusCode.NOT_FOUND,
            details("admin.unknown", nearest="billing", known="billing, mail"),
            1,
            "did you mean billing?",
        ),
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            details("admin.bad", field="selection.partition"),
            2,
            "selection.partition: out of",
        ),
        (grpc.StatusCode.FAILED_PRECONDITION, None, 1, "said so"),
        (grpc.StatusCode.UNAVAILABLE, details("kafka.unavailable"), 1, "said so"),
        (grpc.StatusCode.UNAUTHENTICATED, None, 1, "--token-file"),
        (grpc.StatusCode.PERMISSION_DENIED, None, 1, "said so"),
        (grpc.StatusCode.INTERNAL, None, 1, "see its log"),
    ],
)
def test_an_error_is_a_message_a_hint_and_an_exit_code(
    code: grpc.StatusCode, packed: bytes | None, exit_code: int, words: str, daemon: Daemon, mpsctl: Run
) -> None:
    daemon.answers["GetStatus"] = refusing(code, "said so", packed)
    ran = mpsctl("status", "biling")
    assert (ran.code, ran.out) == (exit_code, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_an_older_daemon_is_told_by_its_version(daemon: Daemon, mpsctl: Run) -> None:
    daemon.answers["GetVersion"] = pb.GetVersionResponse(version="0.0.9")
    ran = mpsctl("doctor")
    assert ran.code == 1
    assert "is mpsd 0.0.9 and does not know Diagnose" in ran.err
    assert f"needs mpsd {__version__} or newer" in ran.err
    daemon.answers["GetVersion"] = pb.GetVersionResponse(version=__version__)
    assert f"needs mpsd newer than {__version__}" in mpsctl("doctor").err


def test_no_daemon_there_says_where_it_looked_and_how_to_say_another(mpsctl: Run) -> None:
    ran = mpsctl("status", "--json", address="127.0.0.1:1")
    assert ran.code == 4
    assert '"code": "unreachable"' in ran.err
    assert "127.0.0.1:1" in ran.err
    assert "MPSCTL_ADDRESS" in ran.err


def test_a_daemon_that_is_silent_is_given_up_in_time(daemon: Daemon, mpsctl: Run) -> None:
    ended = threading.Event()

    def answer(_: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(ended.set)
        ended.wait(20)
        return pb.GetStatusResponse()

    daemon.answers["GetStatus"] = answer
    ran = mpsctl("status", "--timeout", "0.3s")
    assert ran.code == 4
    assert "did not answer within 0.3 s" in ran.err


def test_a_change_whose_answer_was_lost_is_asked_again_with_the_same_id(failed_before: Daemon, mpsctl: Run) -> None:
    def lost_once(request: Any, context: grpc.ServicerContext) -> Any:
        if len(failed_before.requests("Pause")) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return pb.PauseResponse(changed=fleet.changed())

    failed_before.answers["Pause"] = lost_once
    assert mpsctl("pause", "billing", "--reason", "why").code == 0
    first, second = failed_before.requests("Pause")
    assert first.change.request_id == second.change.request_id != ""


@pytest.mark.parametrize(
    "words",
    [
        "pause billing",
        "pause billing --reason",
        "pause billing --partition 3 --reason x",
        "pause billing --for 5 --reason x",
        "pause billing --for 90d --reason x",
        "pause billing --key a --key-base64 YQ== --reason x",
        f"pause billing --reason {'x' * 1025}",
        "limit billing",
        "limit billing --rate -1/s",
        "limit billing --clear --concurrency 3",
        "reset billing --to never",
        "reset billing --to 2999-01-01T00:00:00Z",
        "reset billing --to orders/3@1,orders/3@2",
        "skip billing orders/3 --reason x",
        "dlq ls billing --status 700",
        "audit --since yesterday",
        "status --timeout 0",
        "statsu",
    ],
)
def test_what_makes_no_sense_is_told_without_asking_anybody(words: str, failed_before: Daemon, mpsctl: Run) -> None:
    ran = mpsctl(*words.split(" "))
    assert ran.code == 2
    assert "Traceback" not in ran.err
    assert failed_before.asked == []


@pytest.mark.parametrize("words", ["--context prod status", "status -c prod", "status --context prod --json"])
def test_a_context_leads_to_its_daemon(words: str, failed_before: Daemon, clean: None, tmp_path: Path) -> None:
    (tmp_path / "config/mpsctl").mkdir(parents=True)
    said = f'address = "127.0.0.1:1"\n[contexts.prod]\naddress = "{failed_before.address}"\n'
    (tmp_path / "config/mpsctl/config.toml").write_text(said)
    result = CliRunner().invoke(app, words.split(), prog_name="mpsctl", env={"MPSCTL_ADDRESS": "127.0.0.1:1"})
    assert (result.exit_code, len(failed_before.requests("GetStatus"))) == (0, 1), result.output


def test_a_time_in_the_future_is_told_by_its_option(mpsctl: Run) -> None:
    assert "Invalid value for --to: 2999-01-01 is in the future" in mpsctl("reset", "b", "--to", "2999-01-01").err


def test_a_token_is_sent_from_its_file_and_never_in_the_open(
    failed_before: Daemon, mpsctl: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("a-secret-of-16-chars\n")
    monkeypatch.setenv("MPSCTL_TOKEN_FILE", str(file))
    mpsctl("status")
    assert failed_before.metadata["authorization"] == "Bearer a-secret-of-16-chars"
    ran = mpsctl("status", address="mps.example.com:7070")
    assert ran.code == 2
    assert "plain text" in ran.err
    assert "a-secret" not in ran.err


@pytest.mark.parametrize(
    "words",
    [
        *("status", "inspect", "pause", "resume", "limit", "skip", "dlq ls", "dlq show"),
        *("replay-dlq", "replay ls", "reset", "audit", "inspect --blocked", "pause --reason why"),
    ],
)
def test_a_shell_completes_subscriptions_and_is_quiet_when_it_cannot(
    words: str, failed_before: Daemon, mpsctl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "COMPLETION_S", 20.0)  # a busy machine has no half second for it

    def complete(address: str) -> Any:
        typed = f"mpsctl {words} m"
        given = {
            "_MPSCTL_COMPLETE": "complete_bash",
            "COMP_CWORD": str(len(typed.split()) - 1),
            "COMP_WORDS": typed,
            "MPSCTL_ADDRESS": address,
        }
        return CliRunner().invoke(app, [], prog_name="mpsctl", env=given)

    get_completion_inspect_parameters()
    assert complete(failed_before.address).output.split() == ["mail"]
    assert complete("127.0.0.1:1").output.strip() == ""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_with_what_completion_prints(failed_before: Daemon, clean: None, tmp_path: Path) -> None:
    program = tmp_path / "mpsctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mpsctl "$@"\n')
    program.chmod(0o755)
    typed = "COMP_WORDS=(mpsctl dlq ls m); COMP_CWORD=3; _mpsctl_completion mpsctl; echo ${COMPREPLY[@]}"
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "MPSCTL_ADDRESS": failed_before.address}
    said = subprocess.run(
        ["bash", "-c", f'eval "$(mpsctl completion bash)"; {typed}'], env=environ, capture_output=True, check=True
    )
    assert (said.stdout, said.stderr) == (b"mail\n", b"")


def test_a_daemon_that_restarts_is_waited_for_once(failed_before: Daemon, mpsctl: Run) -> None:
    other = Daemon()
    other.answers = failed_before.answers
    server = serve(other)
    server.stop(0).wait()
    assert mpsctl("pause", "billing", "--reason", "why", address=other.address).code == 4


def test_watching_in_a_pipe_prints_each_status_on_a_line(failed_before: Daemon, mpsctl: Run) -> None:
    def stream(request: pb.WatchStatusRequest, context: grpc.ServicerContext) -> Any:
        yield pb.WatchStatusResponse(status=fleet.status())
        yield pb.WatchStatusResponse(status=fleet.status())
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not any more")

    failed_before.answers["WatchStatus"] = stream
    ran = mpsctl("status", "--watch", "--json")
    assert len(ran.out.splitlines()) == 2
    assert ran.code == 1
    assert "not any more" in ran.err


def test_version_without_a_daemon_is_its_own(mpsctl: Run) -> None:
    ran = mpsctl("version", "--client", "--json", address="127.0.0.1:1")
    assert (ran.code, ran.json["mpsctl"], ran.json["daemon"]) == (0, __version__, None)
