"""Parts of answers that come out of records or from the application: taken out for callers that may not see them."""

from collections.abc import Mapping, Sequence

from google.protobuf.message import Message

HIDDEN: Mapping[str, Sequence[str]] = {
    "DeadLetter": ("key",),
    "DeadLetterFilter": ("key",),
    "GetDeadLetterResponse": ("headers", "excerpt", "value"),
    "Lane": ("key", "value"),
    "PartitionStatus": ("paused_keys",),
    "Selection": ("key",),
}
"""Fields by message. Every field of `bytes` that can be in an answer is here, or below one that is."""
MARK = "content_hidden"
"""The field that says that something was taken out of its message."""


def hide(answer: Message) -> None:
    """Take the content of records and of the application's answers out of an answer, and mark where it was."""
    kind = answer.DESCRIPTOR
    hidden = HIDDEN.get(kind.name, ())
    for field, value in answer.ListFields():
        if field.name in hidden:
            answer.ClearField(field.name)
            setattr(answer, MARK, True)
        elif field.message_type is not None:
            for each in (value,) if isinstance(value, Message) else value:
                hide(each)
