"""Writes pairs of a date as people write it and its ISO form.

    python3 corpora/dates.py --pairs 20000 > dates.tsv

Dates run from 1900-01-01 to 2099-12-31. Slashes put the month first (5/9/1998 is the ninth of May), dots the
day (9.5.1998); a year of two digits is one from 1969 to 2068, as in POSIX. So every source means one date.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable

from pairs import Arguments, Dice, Pair, write

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth",
    "nineteenth", "twentieth", "twenty-first", "twenty-second", "twenty-third", "twenty-fourth",
    "twenty-fifth", "twenty-sixth", "twenty-seventh", "twenty-eighth",
    "twenty-ninth", "thirtieth", "thirty-first",
)  # fmt: skip

FORMS = (
    "{day} {month} {year}",
    "{day:02} {month} {year}",
    "{day} {mon} {year}",
    "{nth} {month} {year}",
    "{nth} of {month} {year}",
    "the {nth} of {month}, {year}",
    "the {ordinal} of {month} {year}",
    "{month} {day}, {year}",
    "{month} {nth}, {year}",
    "{month} the {ordinal}, {year}",
    "{mon} {day}, {year}",
    "{mon} {day} {year}",
    "{weekday}, {day} {month} {year}",
    "{weekday}, {month} {day}, {year}",
    "{weekday} the {nth} of {month}, {year}",
    "{wee}, {day:02} {mon} {year}",
    "{wee} {mon} {day} {year}",
    "{year} {month} {day}",
    "{year}, {mon} {day}",
    "{day}-{mon}-{year}",
    "{month_number}/{day}/{year}",
    "{month_number:02}/{day:02}/{year}",
    "{day}.{month_number}.{year}",
    "{day:02}.{month_number:02}.{year}",
    "{day}. {month_number}. {year}",
    "{day}.{roman}.{year}",
    "{year}/{month_number:02}/{day:02}",
    "{year}.{month_number:02}.{day:02}",
    "{year}{month_number:02}{day:02}",
)
# These only where two digits say the year.
SHORT_FORMS = (
    "{day} {mon} '{yy:02}",
    "{mon} {day}, '{yy:02}",
    "{day:02}-{mon}-{yy:02}",
    "{month_number:02}/{day:02}/{yy:02}",
    "{day:02}.{month_number:02}.{yy:02}",
)
CASES: tuple[Callable[[str], str], ...] = (str, str, str, str.lower, str.upper)  # mostly as the form is

FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)


def suffix(day: int) -> str:
    """What makes a day's number an ordinal.

    >>> [suffix(day) for day in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30)]
    ['st', 'nd', 'rd', 'th', 'th', 'th', 'th', 'st', 'nd', 'rd', 'th']
    """
    return "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def write_date(date: datetime.date, form: str) -> str:
    """The date in one of the forms.

    >>> write_date(datetime.date(1998, 5, 9), "{wee}, {nth} of {month} '{yy:02}")
    "Sat, 9th of May '98"
    """
    month, weekday = MONTHS[date.month - 1], WEEKDAYS[date.weekday()]
    return form.format(
        year=date.year, yy=date.year % 100, month_number=date.month, day=date.day,
        month=month, mon=month[:3], roman=ROMAN[date.month - 1], weekday=weekday, wee=weekday[:3],
        nth=f"{date.day}{suffix(date.day)}", ordinal=ORDINALS[date.day - 1],
    )  # fmt: skip


def draw_date(dice: Dice) -> Pair:
    """A date in a random form, and its ISO form."""
    date = FIRST + datetime.timedelta(days=dice.below((LAST - FIRST).days + 1))
    forms = FORMS + SHORT_FORMS if 1969 <= date.year <= 2068 else FORMS
    return dice.pick(CASES)(write_date(date, dice.pick(forms))), date.isoformat()


def main() -> int:
    """Writes the pairs that the command line asks for."""
    arguments = Arguments("Write dates in many forms and their ISO form, SOURCE tab TARGET a line.")
    options = arguments.parse_args()
    dice = Dice(options.seed)
    return write(lambda: draw_date(dice), options.pairs, arguments.prog)


if __name__ == "__main__":
    sys.exit(main())
