"""The change of keys: everything, in batches, as often as one likes, and nobody's edit is lost."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from ami_integration.actions.models import ActionRun, RunResult
from ami_integration.audit.models import AuditEntry
from ami_integration.events.work import load_targets
from ami_integration.schedules.alerts.models import AlertChannel
from ami_integration.secrets import rotation
from ami_integration.secrets.columns import encrypted_columns
from ami_integration.secrets.encryption import Secret
from ami_integration.secrets.rotation import Rotated, secrets_rotate
from ami_integration.servers.models import Server
from ami_integration.servers.sessions import _fingerprint
from tests.actions.factories import make_run
from tests.schedules.alerts.factories import make_webhook
from tests.secrets.conftest import NEW, OLD, THIRD
from tests.servers.factories import SECRET, make_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ring")]


def keys_in_use() -> set[str]:
    return {
        Secret(token).key_id
        for column in encrypted_columns()
        for token in column.rows.values_list("stored_token", flat=True)
    }


def rotate() -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("rotate_secrets", stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_everything_is_encrypted_anew_and_reads_as_before(ring: Settings) -> None:
    make_webhook("https://chat.example.com/one", secret="s1gning")
    server = make_server(action_username="acting", action_secret="an0ther")
    run = make_run(server=server, headers=[["Variable", "PIN=1234"]], output="x")
    RunResult.objects.update(hidden="[]")
    before = Server.objects.get().updated_at
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW, "old": OLD}
    out, err = rotate()
    assert keys_in_use() == {"new"}
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    server = Server.objects.get()
    assert server.action_secret is not None
    assert (server.secret.reveal(), server.action_secret.reveal()) == (SECRET, "an0ther")
    assert server.updated_at == before
    assert ActionRun.objects.get(pk=run.pk).headers_in_clear() == [("Variable", "PIN=1234")]
    channel = AlertChannel.objects.get()
    assert channel.url is not None and channel.url.reveal() == "https://chat.example.com/one"
    assert "doesn't need old any more" in out and err == ""
    assert SECRET not in out


def test_a_second_time_there_is_nothing_to_do(ring: Settings) -> None:
    make_server()
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW, "old": OLD}
    rotate()
    token = Server.objects.get().secret.token
    assert sum(done.rotated for done in secrets_rotate()) == 0
    assert Server.objects.get().secret.token == token


def test_what_was_interrupted_goes_on_where_it_was(ring: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH_ROWS", 2)
    for number in range(5):
        make_server(name=f"pbx{number}")
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW, "old": OLD}

    def interrupted(done: Rotated) -> None:
        if done.rotated == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        secrets_rotate(batch_done=interrupted)
    assert [server.secret.key_id for server in Server.objects.all()] == ["new"] * 4 + ["old"]
    (done,) = [done for done in secrets_rotate() if done.rotated]
    assert (done.rotated, done.kept) == (1, 4)


def test_a_batch_ends_before_it_is_too_large(ring: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH_LENGTH", 1)
    for number in range(3):
        make_server(name=f"pbx{number}")
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW, "old": OLD}
    batches: list[int] = []
    secrets_rotate(batch_done=lambda done: batches.append(done.rotated))
    assert batches == [1, 2, 3]


def test_what_no_key_opens_is_left_as_it_is_and_told(ring: Settings) -> None:
    rom = make_server(name="Rom")
    ring.AMIWEB_ENCRYPTION_KEYS = {"lost": NEW}
    oslo = make_server(name="Oslo")
    token = Server.objects.get(pk=oslo.pk).secret.token
    ring.AMIWEB_ENCRYPTION_KEYS = {"newest": THIRD, "old": OLD}
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit):
        call_command("rotate_secrets", stdout=out, stderr=err)
    assert f"1 left as they are (id {oslo.pk}): its key 'lost' is not in" in err.getvalue()
    assert Server.objects.get(pk=oslo.pk).secret.token == token
    assert Server.objects.get(pk=rom.pk).secret.key_id == "newest"
    assert "any more" not in out.getvalue()
    entry = AuditEntry.objects.filter(verb="secrets.rotate").first()
    assert entry is not None
    assert (entry.outcome, entry.what["key"]) == ("failed", "newest")
    assert entry.what["unreadable"] == {"server (server.secret)": 1}


def test_a_row_that_names_the_first_key_but_is_another_ones_is_encrypted_anew(ring: Settings) -> None:
    server = make_server()
    Server.objects.update(secret=Secret("new:" + server.secret.token.partition(":")[2]))
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW, "old": OLD}
    secrets_rotate()
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW}
    assert Server.objects.get().secret.reveal() == SECRET


def test_what_somebody_writes_meanwhile_is_not_overwritten(
    ring: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_server()
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW, "old": OLD}
    reveal = Secret.reveal

    def edited_meanwhile(secret: Secret) -> str:
        Server.objects.update(secret="edited")
        return reveal(secret)

    monkeypatch.setattr(Secret, "reveal", edited_meanwhile)
    (done,) = [done for done in secrets_rotate() if done.edited]
    monkeypatch.undo()
    assert (done.rotated, done.edited) == (0, 1)
    assert Server.objects.get().secret.reveal() == "edited"


def test_no_session_is_cut_by_a_change_of_keys(ring: Settings) -> None:
    make_server(transport=None, ssh_key="a key", ssh_password="a word")
    targets, fingerprint = load_targets(), _fingerprint(Server.objects.get())
    ring.AMIWEB_ENCRYPTION_KEYS = {"new": NEW, "old": OLD}
    rotate()
    server = Server.objects.get()
    assert server.secret.key_id == "new"
    assert (load_targets(), _fingerprint(server)) == (targets, fingerprint)
    Server.objects.update(secret="an0ther")
    assert load_targets() != targets and _fingerprint(Server.objects.get()) != fingerprint


def test_without_a_key_nothing_is_touched(ring: Settings) -> None:
    make_server()
    ring.AMIWEB_ENCRYPTION_KEYS = {}
    with pytest.raises(CommandError, match="holds no key"):
        rotate()
    assert keys_in_use() == {"old"}
