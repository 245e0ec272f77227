"""Records of the demo."""

import json

from mpsd.demo.story import RECORDS_MIN, orders


def test_the_story_is_the_same_every_time() -> None:
    assert orders(1_000, 50) == orders(1_000, 50)


def test_as_many_are_special_as_are_promised() -> None:
    story = orders(20_000, 500)
    bodies = [json.loads(message.value or b"") for message in story.messages]
    assert len(bodies) == 20_000
    assert sum(body["amount"] <= 0 for body in bodies) == story.poison == 20
    assert sum(body["warehouse"] == "remote" for body in bodies) == story.flaky == 50
    assert not any(body["amount"] <= 0 and body["warehouse"] == "remote" for body in bodies)
    assert len({message.key for message in story.messages}) == 500


def test_the_smallest_story_has_everything() -> None:
    story = orders(RECORDS_MIN, 1)
    assert (len(story.messages), story.poison, story.flaky) == (RECORDS_MIN, 1, 1)
