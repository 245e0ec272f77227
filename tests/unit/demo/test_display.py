"""The progress of the demo, where no terminal is."""

import io

from mpsd.demo.display import Moment, PlainDisplay, display_for

MOMENT = Moment(records=20_000, delivered=12_345, retried=50, dead_lettered=20, in_flight=64, per_second=6_120)


def test_a_line_has_all_figures_and_no_colour() -> None:
    stream = io.StringIO()
    display_for(stream).show(MOMENT)
    assert stream.getvalue() == " 12,345 delivered   50 retried  20 dead-lettered  64 in flight  6,120/s\n"


def test_a_note_stands_behind_the_figures() -> None:
    stream = io.StringIO()
    PlainDisplay(stream).show(MOMENT._replace(note="the application is away"))
    assert stream.getvalue().endswith("/s  the application is away\n")


def test_lines_come_at_intervals() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream, interval_s=3600)
    display.show(MOMENT)
    display.show(MOMENT._replace(delivered=13_000))
    assert stream.getvalue().count("\n") == 1


def test_no_line_comes_twice_without_news() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream, interval_s=0)
    for delivered in (1, 1, 2, 2, 2):
        display.show(MOMENT._replace(delivered=delivered))
    assert stream.getvalue().count("\n") == 2


def test_ten_million_records_fit_a_line() -> None:
    full = MOMENT._replace(delivered=9_999_999, retried=99_999, dead_lettered=9_999, in_flight=256, per_second=99_999)
    assert len(full.figures()) <= 80
