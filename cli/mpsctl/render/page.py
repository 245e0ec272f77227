"""Pages: lines of styled pieces, and tables that fit the width.

A page is made of plain values, so that pipes need no terminal library and tests can read it.
"""

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

GAP = "  "
FLEXIBLE_MIN = 8
"""Least width to which a flexible column is cut."""
INDENT = "  "
NAME_WIDTH = 13


class Style(StrEnum):
    """The meaning of a piece of text; `screen` chooses its look."""

    PLAIN = ""
    TITLE = "title"
    STRONG = "strong"
    DIM = "dim"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


class Piece(NamedTuple):
    """Text of one style."""

    text: str
    style: Style = Style.PLAIN


Line = Sequence[Piece]
Cell = Piece | str


MORE = Piece("There are more entries; show them with a larger --limit.", Style.DIM)


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        right: True to align the cells to the right, as for numbers.
        flexible: True to cut the cells if the table is too wide.
    """

    title: str
    right: bool = False
    flexible: bool = False


class Table:
    """Rows under titles, each with optional notes below it."""

    def __init__(self, *columns: Column) -> None:
        self._columns = columns
        self._rows: list[tuple[list[Piece], Sequence[Piece]]] = []

    def add(self, *cells: Cell, notes: Iterable[Piece] = ()) -> None:
        assert len(cells) == len(self._columns)
        self._rows.append(([_piece(cell) for cell in cells], tuple(notes)))

    def lines(self, width: int | None) -> list[Line]:
        """Return the lines of the table, at most `width` wide; None: no bound."""
        widths = self._widths(width)
        heads = [Piece(column.title.upper(), Style.TITLE) for column in self._columns]
        lines = [self._line(heads, widths)]
        for cells, notes in self._rows:
            lines.append(self._line(cells, widths))
            for note in notes:
                lines += wrapped(note, width)
        return lines

    def _widths(self, width: int | None) -> list[int]:
        widths = [
            max([cells_of(column.title), *(cells_of(row[index].text) for row, _ in self._rows)])
            for index, column in enumerate(self._columns)
        ]
        if width is None:
            return widths
        excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
        while excess > 0:
            flexible = [i for i, column in enumerate(self._columns) if column.flexible and widths[i] > FLEXIBLE_MIN]
            if not flexible:
                break
            widest = max(flexible, key=widths.__getitem__)
            widths[widest] -= 1
            excess -= 1
        return widths

    def _line(self, cells: Sequence[Piece], widths: Sequence[int]) -> Line:
        line: list[Piece] = []
        for index, (cell, column, width) in enumerate(zip(cells, self._columns, widths, strict=True)):
            text = cut(cell.text, width)
            fill = " " * (width - cells_of(text))
            if index:
                line.append(Piece(GAP))
            if column.right:
                line += [Piece(fill), Piece(text, cell.style)]
            else:
                line += [Piece(text, cell.style), Piece(fill if index < len(widths) - 1 else "")]
        return line


class Page:
    """Blocks from top to bottom."""

    def __init__(self) -> None:
        self._blocks: list[Table | Line] = []

    def say(self, *pieces: Cell) -> "Page":
        """Add a line; a line that is too long is wrapped."""
        self._blocks.append([_piece(piece) for piece in pieces])
        return self

    def entry(self, name: str, *pieces: Cell) -> "Page":
        """Add a line with a name, and with text in the column behind the names."""
        return self.say(Piece(f"{name:<{NAME_WIDTH}}", Style.TITLE), *pieces)

    def table(self, table: Table) -> "Page":
        self._blocks.append(table)
        return self

    def gap(self) -> "Page":
        """Add an empty line, but not at the top."""
        if self._blocks:
            self._blocks.append([])
        return self

    def join(self, below: "Page") -> "Page":
        """Add all blocks of another page below those of this one."""
        self._blocks += below._blocks  # noqa: SLF001 - of the same class
        return self

    def lines(self, width: int | None = None) -> list[Line]:
        lines: list[Line] = []
        for block in self._blocks:
            if isinstance(block, Table):
                lines += block.lines(width)
            else:
                lines += _broken(block, width)
        return lines

    def text(self, width: int | None = None) -> str:
        """Return the page without style, for pipes and files."""
        return "".join(f"{''.join(piece.text for piece in line).rstrip()}\n" for line in self.lines(width))


def wrapped(piece: Piece, width: int | None, indent: str = INDENT) -> list[Line]:
    """Wrap one piece into indented lines."""
    if width is None:
        return [[Piece(indent + piece.text, piece.style)]]
    texts = textwrap.wrap(piece.text, max(20, width - len(indent)), break_on_hyphens=False) or [""]
    return [[Piece(indent + text, piece.style)] for text in texts]


def cells_of(text: str) -> int:
    """Return the number of columns that a terminal needs for the text."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """Cut the text to a width; an ellipsis stands for the rest."""
    if cells_of(text) <= width:
        return text
    kept = ""
    for char in text:
        if cells_of(kept + char) > width - 1:
            break
        kept += char
    return kept + "…"


def _piece(cell: Cell) -> Piece:
    return cell if isinstance(cell, Piece) else Piece(cell)


def _broken(line: Line, width: int | None) -> list[Line]:
    """Break a line of several pieces between words."""
    if width is None or sum(cells_of(piece.text) for piece in line) <= width:
        return [line]
    lines: list[list[Piece]] = [[]]
    used = 0
    for piece in line:
        for index, part in enumerate(piece.text.split(" ")):
            space = " " if index else ""
            if used and used + cells_of(space + part) > width:
                lines.append([])
                used, space = 0, INDENT
            lines[-1].append(Piece(space + part, piece.style))
            used += cells_of(space + part)
    return list(lines)
