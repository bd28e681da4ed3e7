"""Who may run actions, and who may look at what they returned. Decided here alone, for every way in."""

from typing import Any


def user_may_run(*, user: Any) -> bool:
    """Whether this person may run actions (None: nobody, who may not)."""
    return user is not None and user.is_active and user.has_perm("ami_integration.add_actionrun")


def user_may_view(*, user: Any) -> bool:
    """Whether this person may see the action log and the results in it."""
    return (
        user is not None
        and user.is_active
        and user.is_staff
        and user.has_perm("ami_integration.view_actionrun")
    )
