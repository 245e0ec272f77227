"""The rate limit of log lines: a few of each cause per window, then the number of further ones."""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from typing_extensions import override

from mpsd.logs.lines import fields, message

WINDOW_S = 60.0
LINES_MAX = 5
"""Lines of one cause per window: enough to see what differs between them. The same text again is left out at once."""
FOREIGN_LINES_MAX = 1
"""Lines of other libraries in a window, as these repeat themselves: a dead broker is one line a minute."""
CAUSES_MAX = 512
NEVER_LIMITED = frozenset({"control.changed", "control.audit_failed"})
"""Codes of lines that are all written: each is an operator's change, and no other line says the same."""


@dataclass(slots=True)
class Cause:
    """Counts of written and suppressed lines of one cause since `began_s`, the time of its first line."""

    logger: str
    level: int
    named: dict[str, object]
    example: str
    began_s: float
    written: int = 0
    left_out: int = 0


class RateLimit:
    """A budget of lines for each cause.

    A cause is what our own code calls one: logger, `code` and `subscription` (without a code, the message's template).
    Of another library it is all that it says at one level. What is critical, and
    `NEVER_LIMITED`, is never limited.

    Holds at most: `CAUSES_MAX` causes; of the one longest unused the count is written and then forgotten.

    Attributes:
        suppressed: lines left out since the start.
    """

    def __init__(self) -> None:
        self.suppressed = 0
        self._causes: OrderedDict[tuple[str, ...], Cause] = OrderedDict()

    @override
    def __repr__(self) -> str:
        return f"<RateLimit causes={len(self._causes)} suppressed={self.suppressed}>"

    def admit(self, record: logging.LogRecord, now_s: float) -> Iterator[logging.LogRecord]:
        """Yield the lines to write now: counts that became due, and the record unless its cause has used its budget."""
        yield from self.due(now_s)
        if record.levelno >= logging.CRITICAL or vars(record).get("code") in NEVER_LIMITED:
            yield record
            return
        ours = record.name.partition(".")[0] == "mpsd"
        cause = self._cause(record, ours=ours, now_s=now_s)
        within = cause.written < (LINES_MAX if ours else FOREIGN_LINES_MAX)
        if within and (not cause.written or message(record) != cause.example):
            cause.written += 1
            yield record
        else:
            cause.left_out += 1
            self.suppressed += 1
        if len(self._causes) > CAUSES_MAX:
            yield from _count(self._causes.popitem(last=False)[1], now_s)

    def due(self, now_s: float) -> Iterator[logging.LogRecord]:
        """Yield the counts of causes whose window is over, and renew their budget."""
        for name in [name for name, cause in self._causes.items() if now_s - cause.began_s >= WINDOW_S]:
            yield from _count(self._causes.pop(name), now_s)

    def rest(self, now_s: float) -> Iterator[logging.LogRecord]:
        """Yield the counts of all causes, at the end."""
        while self._causes:
            yield from _count(self._causes.popitem(last=False)[1], now_s)

    def _cause(self, record: logging.LogRecord, *, ours: bool, now_s: float) -> Cause:
        named = {name: value for name, value in fields(record).items() if name in {"code", "subscription"}}
        if ours:
            name: tuple[str, ...] = (
                record.name,
                str(named.get("code", record.msg)),
                str(named.get("subscription", "")),
            )
        else:
            name = (record.name.partition(".")[0], record.levelname)
        cause = self._causes.get(name)
        if cause is None:
            cause = self._causes[name] = Cause(record.name, record.levelno, named, message(record), now_s)
        self._causes.move_to_end(name)
        return cause


def _count(cause: Cause, now_s: float) -> Iterator[logging.LogRecord]:
    if not cause.left_out:
        return
    window_s = round(now_s - cause.began_s)
    text = f"… {cause.left_out} more in the last {window_s} s like: {cause.example}"
    line = logging.LogRecord(cause.logger, cause.level, __file__, 0, text, (), None)
    vars(line).update(cause.named, left_out=cause.left_out, window_s=window_s)
    yield line
