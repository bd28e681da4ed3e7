"""Numbered events of which some are missing: whether gaps say so, to the event."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ami_integration.events.models import Gap
from ami_integration.servers.models import Server


def missing(numbers: Sequence[int], happened: int) -> list[int]:
    """Which of so many are missing; the others are there once and in order."""
    assert len(numbers) == len(set(numbers)), "events are stored twice"
    assert numbers == sorted(numbers), "events are stored out of order"
    return sorted(set(range(happened)) - set(numbers))


def check_gaps(server: Server, stored: Sequence[tuple[int, int | None]], happened: int) -> list[int]:
    """Every missing number lies in a gap from the last stored event to the first one after it.

    Args:
        stored: id and number (None: it has none) of every stored event of the server, by id.
        happened: how many numbers there were; the last one isn't missing.

    Returns:
        The missing ones.
    """
    lost = missing([number for _, number in stored if number is not None], happened)
    bounds = set(Gap.objects.filter(server=server).values_list("after_id", "before_id"))
    ids = [pk for pk, _ in stored]
    neighbours = set(itertools.pairwise(ids))
    for number in lost:
        before = max((pk for pk, one in stored if one is not None and one < number), default=0)
        after = min(pk for pk, one in stored if one is not None and one > number)
        # FullyBooted may be the first one after it, or the last one before the next gap.
        around = {pair for pair in neighbours if before <= pair[0] and pair[1] <= after}
        assert around & bounds, f"{number} is missing in {around}, and no gap says just so: {bounds}"
    for _, last in bounds:
        assert last in ids, f"a gap ends with no stored event: {last}"
    return lost
