"""Lengths of time as people write them: “45 s”, “5 min”, “1 h 30 min”, “7 d”; a bare number is seconds."""

import re
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget

_UNITS = {"w": 7 * 24 * 3600, "d": 24 * 3600, "h": 3600, "min": 60, "s": 1}
_NAMES = {
    name: unit
    for unit, names in {
        "w": ("w", "week", "weeks"),
        "d": ("d", "day", "days"),
        "h": ("h", "hour", "hours"),
        "min": ("min", "m", "mins", "minute", "minutes"),
        "s": ("s", "", "sec", "second", "seconds"),
    }.items()
    for name in names
}
_PART = re.compile(r"(\d{1,9})\s*([a-z]*)\s*")
#: What the columns hold: a positive integer of four bytes.
_LARGEST = 2**31 - 1


def duration_parse(text: str) -> int:
    """Seconds of what somebody wrote. Raises ValueError with a sentence."""
    rest = text.strip().lower()
    total, position = 0, 0
    while position < len(rest):
        part = _PART.match(rest, position)
        unit = _NAMES.get(part[2]) if part else None
        if part is None or unit is None:
            raise ValueError("Write a time like 45 s, 5 min, 2 h, 1 h 30 min or 7 d.")
        total += int(part[1]) * _UNITS[unit]
        position = part.end()
    if total > _LARGEST:
        raise ValueError("That is more than 60 years. Write less.")
    return total


def duration_text(seconds: int) -> str:
    """The same length in its largest units, for example “1 h 30 min”."""
    parts = []
    for unit, size in _UNITS.items():
        if unit == "w":
            continue  # 14 d say more than 2 w
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts) or "0 s"


def duration_words(seconds: int) -> str:
    """The same for a page that is read and not typed into, for example “1 hour 30 minutes”."""
    words = {"d": "day", "h": "hour", "min": "minute", "s": "second"}
    parts = duration_text(seconds).split()
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return " ".join(f"{number} {words[unit]}{'' if number == '1' else 's'}" for number, unit in pairs)


class DurationField(forms.CharField):
    """A length of time; the clean value is whole seconds, or None if it is empty."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault(
            "widget", AdminTextInputWidget(attrs={"class": "schedule-short", "autocomplete": "off"})
        )
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        if value == 0 and not self.required:
            return ""
        return duration_text(value) if isinstance(value, int) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return duration_parse(text)
        except ValueError as error:
            raise forms.ValidationError(str(error), code="no_duration") from None

    def run_validators(self, value: Any) -> None:
        """None of the texts' own: what counts are the seconds, which the model's validators judge."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or None) != (self.to_python(data) or None))
        except forms.ValidationError:
            return True
