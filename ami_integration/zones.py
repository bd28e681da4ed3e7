"""The time zones that people may name."""

import zoneinfo
from functools import lru_cache

from django.core.exceptions import ValidationError


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every time zone that this machine knows, save its technical tables (posix/, right/)."""
    return frozenset(
        name
        for name in zoneinfo.available_timezones()
        if not name.startswith(("posix", "right", "Factory", "local"))
    )


def validate_zone(name: str) -> None:
    """Refuse what is no time zone. For fields of models."""
    if name not in zone_names():
        raise ValidationError(f"There is no time zone “{name}”. Write one like Europe/Berlin, or UTC.")
