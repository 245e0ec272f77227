"""The result of one seed."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Result:
    """The result of one story.

    Attributes:
        broken: what went wrong, by the name of the guarantee; `Stages` where a stage of a daemon ended or raised.
        trace: the lines, where they were kept.
    """

    seed: int
    digest: str = ""
    broken: dict[str, str] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    settled: int = 0
    generations: int = 0
    virtual_s: float = 0.0
    trace: list[str] = field(default_factory=list)
