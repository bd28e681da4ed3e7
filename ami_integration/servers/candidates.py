"""A server as a form describes it, examined before anybody saves it.

What was typed into the form is judged by the very form that would save it, and by its rules: above all, a
stored secret goes nowhere but where it was stored for. Nothing is written but the audit's entry. Secrets are
encrypted as soon as the form has read them, and this process alone ever sees them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict

from ami_integration.access.services import servers_visible, user_may_keep_servers
from ami_integration.keys import pk_of
from ami_integration.servers.forms import ServerForm
from ami_integration.servers.intake import form_of
from ami_integration.servers.models import Server
from ami_integration.servers.services import connection_test_begin

#: What an examination doesn't ask: it goes on, whatever is wrong with these.
NOT_ASKED = frozenset(
    {
        *("name", "enabled", "tags", "timezone", "notes", "read_only", "maintenance", "site"),
        *("max_sessions", "rate_per_minute", "event_keeping", "event_names"),
    }
)


@dataclass(frozen=True)
class Complaint:
    """What is wrong in the form.

    Attributes:
        field: its name; "" if it is no single one.
        label: what the page calls it.
        message: a sentence.
    """

    field: str
    label: str
    message: str


@dataclass(frozen=True)
class Candidate:
    """A form that may be examined, or what is wrong with it.

    Attributes:
        server: in memory, never to be saved; None if something is wrong.
        complaints: what is.
        stored: whether all that was asked is as it is stored, so that what is found can be noted of it.
    """

    server: Server | None
    complaints: tuple[Complaint, ...] = ()
    stored: bool = False


def user_may_examine(*, user: Any, server_id: int | None) -> bool:
    """Whether this person may examine what they type: into the form of this server, or of a new one."""
    if server_id is None:
        return user_may_keep_servers(user=user, what="add")
    return (
        user_may_keep_servers(user=user, what="change")
        and servers_visible(user=user).filter(pk=pk_of(str(server_id))).exists()
    )


def candidate_judge(*, user: Any, server_id: int | None, typed: QueryDict, address: str) -> Candidate:
    """Judge what somebody typed; if it can be examined, tell the audit that it is.

    Args:
        user: who may do so, which is the caller's to ask.
        server_id: of the server whose form it is; None: of a new one.
        typed: the form's fields as a browser would post them, secrets among them.
        address: the person's.

    Raises:
        Server.DoesNotExist: it has been deleted.
    """
    server = None if server_id is None else Server.objects.get(pk=server_id)
    form = form_of(user)(typed, instance=server)
    wrong = {name: errors for name, errors in form.errors.items() if name not in NOT_ASKED}
    if wrong:
        return Candidate(None, tuple(_complaints(form, wrong)))
    candidate: Server = form.instance
    asked = [name for name in form.changed_data if name not in NOT_ASKED]
    connection_test_begin(server=candidate, user=user, origin="admin", address=address, changed=asked)
    return Candidate(candidate, stored=server is not None and not asked)


def _complaints(form: ServerForm, wrong: Mapping[str, Iterable[Any]]) -> Iterator[Complaint]:
    for name, errors in wrong.items():
        known = name in form.fields
        for message in errors:
            yield Complaint(name if known else "", str(form[name].label) if known else "", str(message))
