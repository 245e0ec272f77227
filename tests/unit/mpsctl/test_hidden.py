"""Content that a viewer may not see is shown as hidden, never as missing."""

from google.protobuf.timestamp_pb2 import Timestamp

from mps.admin.v1 import admin_pb2 as pb
from mpsctl.render.dead_letters import dead_letter_page, dead_letters_page
from mpsctl.render.formats import selection_text
from mpsctl.render.queues import queues_page
from mpsctl.views.dead_letters import DeadLetter, DeadLetters, WholeDeadLetter
from mpsctl.views.fleet import Selection
from mpsctl.views.queues import Lane, Queues

HEAD = pb.RecordRef(topic="orders", partition=3, offset=1842)
DEAD_LETTER = pb.DeadLetter(
    source=HEAD, dead_letter=HEAD, reason="answered 422", dead_lettered_at=Timestamp(seconds=1), content_hidden=True
)


def test_a_key_that_is_hidden_is_not_a_record_without_a_key() -> None:
    hidden, without = (Lane.of(pb.Lane(head=HEAD, records=1, content_hidden=hidden)) for hidden in (True, False))
    for lane, shown in ((hidden, True), (without, False)):
        page = queues_page(Queues(lanes=(lane,), more=False, partitions=(), instances=()), values=False)
        assert ("hidden" in page.text()) is shown


def test_a_pause_of_a_hidden_key_is_not_one_of_the_partition() -> None:
    of = Selection.of(pb.Selection(subscription="billing", topic="orders", partition=3, content_hidden=True))
    assert selection_text(of) == "billing, partition orders/3, key hidden"


def test_a_dead_letter_says_what_it_takes_to_see_the_rest() -> None:
    page = dead_letters_page(
        DeadLetters(subscription="billing", dead_letters=(DeadLetter.of(DEAD_LETTER),), more=False)
    )
    assert "hidden" in page.text()
    dead_letter = WholeDeadLetter.of(pb.GetDeadLetterResponse(dead_letter=DEAD_LETTER, content_hidden=True))
    text = dead_letter_page(dead_letter, values=False).text()
    assert "key          hidden" in text
    assert "hidden, and so are the headers: they take the role operator, or content = true" in text
