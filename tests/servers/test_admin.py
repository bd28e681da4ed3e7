"""The pages of the servers, as an administrator, a viewer and a stranger see them."""

from __future__ import annotations

import datetime
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from ami_integration.access.danger import Danger
from ami_integration.ami import SSH, TLS
from ami_integration.audit.models import AuditEntry
from ami_integration.servers import services
from ami_integration.servers.models import Server, Tag
from tests.access.factories import grant, make_person
from tests.ami.scripted import BANNER, Peer, scripted
from tests.certificates import make_certificates
from tests.processes import Valkey
from tests.servers.factories import SECRET, healthy, make_server

LIST = "/admin/ami_integration/server/"
ADD = f"{LIST}add/"

pytestmark = pytest.mark.django_db


def change_page(server: Server) -> str:
    return f"{LIST}{server.pk}/change/"


def doctor_page(server: Server) -> str:
    return f"{LIST}{server.pk}/test/"


def fields(**values: str) -> dict[str, str]:
    return {
        "name": "Berlin",
        "host": "192.0.2.1",
        "port": "5038",
        "transport": "tcp",
        "secret_source": "stored",
        "tls_ca": "",
        "ssh_port": "22",
        "username": "amiweb",
        "secret": "",
        "enabled": "on",
        "notes": "",
        "max_sessions": "8",
        "timezone": "UTC",
        "event_keeping": "default",
    } | values


@pytest.fixture
def client_with() -> Callable[..., Client]:
    """Make a client of a staff user with these permissions, and every access right."""

    def make(*codenames: str, staff: bool = True) -> Client:
        user = User.objects.create_user("worker", password="word", is_staff=staff)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        grant(user)
        client = Client()
        client.force_login(user)
        return client

    return make


def test_an_empty_list_says_what_to_do(admin_client: Client) -> None:
    page = admin_client.get(LIST).content.decode()
    assert "No server yet." in page
    assert f'href="{ADD}"' in page


def test_the_list_shows_state_version_last_seen_and_last_error(admin_client: Client) -> None:
    server = make_server()
    hour_ago = timezone.now() - datetime.timedelta(minutes=61)
    version = "22.10.0 (simulated)"
    services.server_health_set(server_id=server.pk, state="online", asterisk_version=version, now=hour_ago)
    services.server_health_set(server_id=server.pk, state="offline", error="Nothing listens there.")
    page = admin_client.get(LIST).content.decode()
    assert '<span class="aw-state" data-state="offline">Offline</span>' in page
    assert '<span class="aw-tag">simulated</span>' in page
    for shown in (
        "Berlin",
        "192.0.2.1:5038",
        "22.10.0",
        "1\xa0hour ago",
        "Nothing listens there.",
        "just now",
    ):
        assert shown in page
    assert f"/admin/live/?server={server.pk}" in page
    assert f"/admin/ami_integration/actionrun/add/?server={server.pk}" in page


def test_the_list_is_filtered_by_the_state_that_it_shows(admin_client: Client) -> None:
    ago = timezone.now() - datetime.timedelta(minutes=5)
    services.server_health_set(server_id=make_server(name="Forgotten").pk, state="connecting", now=ago)
    services.server_health_set(server_id=make_server(name="Watched").pk, state="connecting")
    make_server(name="Switched off", enabled=False)
    for state, name in (("connecting", "Watched"), ("unknown", "Forgotten"), ("disabled", "Switched off")):
        rows = admin_client.get(LIST, {"state": state}).context["cl"].result_list
        assert [server.name for server in rows] == [name], state


def test_tags_of_servers_that_one_does_not_see_are_offered_nowhere() -> None:
    seen, hidden = make_server(), make_server(name="Oslo")
    for name, server in (("ours", seen), ("theirs", hidden)):
        server.tags.add(Tag.objects.create(name=name))
    Tag.objects.create(name="fresh")
    stranger, viewer, neighbour = (
        make_person(name, "view_server", "change_server", "add_server", "view_tag", "view_accessrule")
        for name in ("stranger", "viewer", "neighbour")
    )
    grant(viewer, Danger.READ, on=seen)
    grant(neighbour, on=hidden)
    tags = "/admin/ami_integration/tag/"
    for person, expected in ((stranger, set()), (viewer, {"ours"}), (neighbour, {"theirs"})):
        client = Client()
        client.force_login(person)
        for page in (LIST, ADD, tags, "/admin/ami_integration/accessrule/"):
            body = client.get(page).content.decode()
            assert {name for name in ("ours", "theirs") if f">{name}<" in body or name in body.split()} <= (
                expected
            ), (person, page)
        form = client.get(ADD).context["adminform"].form
        assert {tag.name for tag in form.fields["tags"].queryset} == expected | {"fresh"}
        assert {tag.name for tag in client.get(tags).context["cl"].result_list} == expected | {"fresh"}


def test_the_list_takes_as_many_queries_for_many_servers_as_for_few(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries, valkey: Valkey
) -> None:
    for number in range(20):
        server = make_server(name=f"PBX {number}")
        services.server_health_set(server_id=server.pk, state="online")
    # Session, user, tags and sites to filter by, two counts, the servers, their tags, whose events; and for
    # the header, with a Valkey, the oldest run and the oldest alert that wait.
    with django_assert_max_num_queries(11):
        admin_client.get(LIST)


def test_a_server_is_added_and_its_secret_stored_encrypted(admin_client: Client) -> None:
    answer = admin_client.post(ADD, fields(secret=SECRET))
    assert answer.status_code == 302, answer.content.decode()
    assert Server.objects.get().secret.reveal() == SECRET
    assert SECRET not in str(list(LogEntry.objects.values()))


def test_a_server_without_a_secret_is_refused(admin_client: Client) -> None:
    page = admin_client.post(ADD, fields()).content.decode()
    assert "Enter the secret." in page
    assert not Server.objects.exists()


def test_a_secret_with_a_line_break_is_refused(admin_client: Client) -> None:
    page = admin_client.post(ADD, fields(secret="a\r\nAction: x")).content.decode()
    assert "may not hold a line break" in page
    assert "Action: x" not in page


def test_an_empty_secret_keeps_the_stored_one(admin_client: Client) -> None:
    server = make_server()
    answer = admin_client.post(change_page(server), fields(name="Munich"))
    assert answer.status_code == 302
    changed = Server.objects.get()
    assert changed.name == "Munich"
    assert changed.secret.token == server.secret.token
    entry = LogEntry.objects.get()
    assert "secret" not in entry.get_change_message()


def test_a_new_secret_replaces_the_stored_one_and_the_history_says_only_that(admin_client: Client) -> None:
    server = make_server()
    admin_client.post(change_page(server), fields(secret="another-w0rd"))
    assert Server.objects.get().secret.reveal() == "another-w0rd"
    assert LogEntry.objects.get().get_change_message() == "Changed secret."


@pytest.mark.parametrize(
    ("name", "value"), [("host", "evil.example"), ("port", "5039"), ("transport", "tls")]
)
def test_a_stored_secret_does_not_follow_a_server_to_another_place(
    admin_client: Client, name: str, value: str
) -> None:
    server = make_server()
    page = admin_client.post(change_page(server), fields(**{name: value})).content.decode()
    assert "Enter the secret again" in page
    assert str(getattr(Server.objects.get(), name)) == str(getattr(server, name))
    assert admin_client.post(change_page(server), fields(secret=SECRET, **{name: value})).status_code == 302


def test_no_page_shows_the_secret_or_its_token(admin_client: Client) -> None:
    server = make_server()
    admin_client.post(change_page(server), fields(secret=SECRET))
    token = Server.objects.get().secret.token.partition(":")[2]
    pages = [
        LIST,
        ADD,
        change_page(server),
        f"{LIST}{server.pk}/history/",
        f"{LIST}{server.pk}/delete/",
        "/admin/",
    ]
    shown = [admin_client.get(page, follow=True) for page in pages]
    shown.append(
        admin_client.post(change_page(server), fields(port="no", secret=SECRET))
    )  # an error re-renders
    for answer in shown:
        assert answer.status_code == 200
        assert SECRET not in answer.content.decode()
        assert token not in answer.content.decode()


def test_an_unreadable_secret_is_a_state_of_its_own_and_is_not_destroyed(
    admin_client: Client, settings: Settings
) -> None:
    server = make_server()
    settings.AMIWEB_ENCRYPTION_KEYS = {"other": Fernet.generate_key().decode()}
    assert 'data-state="secret_unreadable">Secret unreadable<' in admin_client.get(LIST).content.decode()
    page = admin_client.get(change_page(server)).content.decode()
    assert "is not in AMIWEB_ENCRYPTION_KEYS" in page
    assert "enter the secret anew" in page
    assert admin_client.post(change_page(server), fields(notes="edited")).status_code == 302
    kept = Server.objects.get()
    assert (kept.notes, kept.secret.token) == ("edited", server.secret.token)
    ticked = fields(secret=SECRET, replace_unreadable="on")
    assert admin_client.post(change_page(server), ticked).status_code == 302
    assert Server.objects.get().state == "unknown"


def test_the_button_tests_the_connection_and_shows_every_step(admin_client: Client) -> None:
    with scripted(healthy("Ping", "Originate", "Command")) as transport:
        server = make_server(transport)
        assert "Test connection" in admin_client.get(change_page(server)).content.decode()
        page = admin_client.post(doctor_page(server)).content.decode()
    for shown in ("Name", "TCP", "Banner", "Login", "Asterisk 22.10.0", "Works"):
        assert shown in page
    assert SECRET not in page


def test_the_bulk_action_tests_all_chosen_servers(admin_client: Client) -> None:
    with scripted(healthy("Ping")) as good, scripted(lambda peer: peer.say(b"SSH-2.0-x\r\n")) as bad:
        chosen = [make_server(good, name="Berlin"), make_server(bad, name="Munich")]
        data = {"action": "test_connection", "_selected_action": [server.pk for server in chosen]}
        page = admin_client.post(LIST, data).content.decode()
    assert "1 of 2 servers can be used." in page
    assert "What to do:" in page
    assert page.index("Berlin") < page.index("Munich")
    tested = AuditEntry.objects.filter(verb="server.test").order_by("pk")
    assert [(entry.actor_name, entry.object_name) for entry in tested] == [
        ("admin", "Berlin"),
        ("admin", "Munich"),
    ]


def test_what_a_strange_server_says_is_shown_and_not_run(admin_client: Client) -> None:
    def script(peer: Peer) -> None:
        peer.say(b"<script>alert(1)</script>\r\n")

    with scripted(script) as transport:
        page = admin_client.post(doctor_page(make_server(transport))).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_a_refusal_in_another_encoding_is_shown(admin_client: Client) -> None:
    def script(peer: Peer) -> None:
        peer.say(BANNER)
        for _ in ("the doctor's", "the login's"):
            peer.answer(peer.hear(), "Challenge: 1")
        action_id = (peer.hear().action_id or "").encode()
        peer.say(b"Response: Error\r\nActionID: " + action_id + b"\r\nMessage: Acc\xe8s refus\xe9\r\n\r\n")

    with scripted(script) as transport:
        answer = admin_client.post(doctor_page(make_server(transport)))
    assert answer.status_code == 200
    assert r"Acc\udce8s refus\udce9" in answer.content.decode()


def test_a_test_is_a_post_with_its_token(admin_client: Client) -> None:
    server = make_server()
    assert admin_client.get(doctor_page(server)).headers["Location"] == change_page(server)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="admin"))
    assert strict.post(doctor_page(server)).status_code == 403


def test_a_test_of_a_server_that_is_gone_leads_home(admin_client: Client) -> None:
    assert admin_client.post(f"{LIST}4711/test/").status_code == 302


def test_a_viewer_sees_the_server_and_can_not_test_it(client_with: Callable[..., Client]) -> None:
    server = make_server()
    viewer = client_with("view_server")
    page = viewer.get(change_page(server)).content.decode()
    assert "Berlin" in page
    assert ">Test connection<" not in page
    assert "&lt;secret&gt;" in page
    assert viewer.post(doctor_page(server)).status_code == 403
    assert "test_connection" not in viewer.get(LIST).content.decode()
    assert "Live events" not in viewer.get(LIST).content.decode()
    answer = viewer.post(LIST, {"action": "test_connection", "_selected_action": [server.pk]})
    assert b"aw-steps" not in answer.content


def test_a_stranger_sees_and_tests_nothing(client_with: Callable[..., Client]) -> None:
    server = make_server()
    stranger = client_with("view_server", "change_server", staff=False)
    colleague = Client()
    for client in (stranger, colleague):
        for page in (LIST, change_page(server), doctor_page(server)):
            assert client.get(page).headers["Location"].startswith("/admin/login/")
        assert client.post(doctor_page(server)).headers["Location"].startswith("/admin/login/")


# -- the second account


def test_a_second_account_for_actions_is_stored_encrypted_and_shown_to_nobody(admin_client: Client) -> None:
    server = make_server()
    given = fields(action_username="acting", action_secret="w0rd-for-actions")
    assert admin_client.post(change_page(server), given).status_code == 302
    server = Server.objects.get()
    assert (server.action_account[0], server.action_account[1].reveal()) == ("acting", "w0rd-for-actions")
    assert server.secret.reveal() == SECRET
    assert "w0rd-for-actions" not in admin_client.get(change_page(server)).content.decode()
    # An empty secret keeps it, and without a username it goes.
    admin_client.post(change_page(server), fields(action_username="acting"))
    assert Server.objects.get().action_account[1].reveal() == "w0rd-for-actions"
    admin_client.post(change_page(server), fields())
    server = Server.objects.get()
    assert server.action_secret is None
    assert server.action_account == (server.username, server.secret)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"action_username": "acting"}, "Enter the second account&#x27;s secret."),
        ({"action_secret": "w0rd"}, "Enter the username for actions too"),
        ({"max_sessions": "0"}, "greater than or equal to 1"),
        ({"rate_per_minute": "0"}, "greater than or equal to 1"),
        ({"timezone": "Europe/Bonn"}, "There is no time zone “Europe/Bonn”. Write one like Europe/Berlin"),
    ],
)
def test_half_an_account_a_limit_of_nothing_and_no_zone_are_refused_beside_the_field(
    admin_client: Client, given: dict[str, str], said: str
) -> None:
    page = admin_client.post(change_page(make_server()), fields(**given)).content.decode()
    assert said in page


def test_the_time_zone_of_its_place_is_set_on_the_form_and_is_utc_where_none_is_given(
    admin_client: Client,
) -> None:
    assert admin_client.post(ADD, fields(secret=SECRET, timezone="")).status_code == 302
    server = Server.objects.get()
    assert server.timezone == "UTC"
    assert admin_client.post(change_page(server), fields(timezone="Europe/Berlin")).status_code == 302
    server.refresh_from_db()
    assert server.timezone == "Europe/Berlin"


def test_what_is_kept_of_its_events_is_chosen_on_the_form(admin_client: Client) -> None:
    server = make_server()
    given = fields(event_keeping="chosen", event_names="Hangup\r\n!Queue*")
    assert admin_client.post(change_page(server), given).status_code == 302
    server.refresh_from_db()
    assert (server.event_keeping, server.event_names.split()) == ("chosen", ["Hangup", "!Queue*"])
    for names, said in (("", "Name the events to keep"), ("Hang up", "“Hang up” is no event name.")):
        page = admin_client.post(change_page(server), fields(event_keeping="chosen", event_names=names))
        assert said in page.content.decode()


def test_the_stored_secret_for_actions_does_not_follow_a_server_to_another_place(
    admin_client: Client,
) -> None:
    server = make_server(action_username="acting", action_secret="w0rd-for-actions")
    moved = fields(secret=SECRET, host="evil.example", action_username="acting")
    assert "Enter the secret again" in admin_client.post(change_page(server), moved).content.decode()
    assert Server.objects.get().host == server.host


def page_of(user: User, path: str) -> str:
    client = Client()
    client.force_login(user)
    return client.get(path, follow=True).content.decode()


def test_people_see_the_servers_on_which_they_have_a_right_and_no_others() -> None:
    berlin, oslo = make_server(), make_server(name="Oslo")
    stranger, viewer, neighbour = (make_person(name) for name in ("stranger", "viewer", "neighbour"))
    grant(viewer, Danger.READ, on=berlin)
    grant(neighbour, on=oslo)
    assert "No server that you may see." in page_of(stranger, LIST)
    for user, seen, hidden in ((viewer, berlin, oslo), (neighbour, oslo, berlin)):
        page = page_of(user, LIST)
        assert seen.name in page and hidden.name not in page
        assert seen.name in page_of(user, change_page(seen))
        assert "exist" in page_of(user, change_page(hidden))
    for user in (stranger, neighbour):
        assert "exist" in page_of(user, change_page(berlin))


def test_the_filter_by_tags_offers_those_of_servers_that_one_sees() -> None:
    berlin, oslo = make_server(), make_server(name="Oslo")
    for server, names in ((berlin, ("north", "both")), (oslo, ("fjord", "both"))):
        for name in names:
            server.tags.add(Tag.objects.get_or_create(name=name)[0])
    viewer = make_person("viewer")
    grant(viewer, Danger.READ, on=berlin)
    page = page_of(viewer, LIST)
    assert "north" in page and "both" in page and "fjord" not in page


def test_a_link_to_live_events_is_for_who_may_see_them() -> None:
    berlin = make_server()
    viewer, agent = make_person("viewer"), make_person("agent")
    grant(viewer, Danger.READ, on=berlin)
    grant(agent, Danger.OPERATE, on=berlin)
    live = f"/admin/live/?server={berlin.pk}"
    assert live in page_of(viewer, LIST) and live in page_of(viewer, change_page(berlin))
    assert live not in page_of(agent, LIST) and live not in page_of(agent, change_page(berlin))


def test_tags_and_switches_are_set_in_the_form_and_shown_in_the_list(admin_client: Client) -> None:
    server, tag = make_server(), Tag.objects.create(name="office-berlin")
    answer = admin_client.post(change_page(server), fields(tags=str(tag.pk), read_only="on"))
    assert answer.status_code == 302, answer.content.decode()
    server.refresh_from_db()
    assert server.read_only and not server.maintenance and server.tags.get() == tag
    page = admin_client.get(LIST).content.decode()
    assert "office-berlin</span>" in page and "read-only</span>" in page and "maintenance</span>" not in page
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.actor_name, entry.object_name) == ("server.change", "admin", "Berlin")
    assert entry.address == "127.0.0.1"
    assert entry.what == {
        "tags": {"from": [], "to": ["office-berlin"]},
        "read_only": {"from": False, "to": True},
    }


@pytest.mark.parametrize("name", ["Office", "two words", "-a", "a--b", "a\n"])
def test_a_tag_is_a_plain_word(admin_client: Client, name: str) -> None:
    answer = admin_client.post("/admin/ami_integration/tag/add/", {"name": name})
    assert (answer.status_code, Tag.objects.count()) == ((302, 1) if name == "a\n" else (200, 0))


def test_switches_are_turned_for_many_servers_at_once_and_each_is_audited(admin_client: Client) -> None:
    berlin, oslo = make_server(), make_server(name="Oslo", maintenance=True)
    ids = [berlin.pk, oslo.pk]
    page = admin_client.post(LIST, {"action": "maintenance_on", "_selected_action": ids}, follow=True)
    assert "Switched maintenance on: Berlin." in page.content.decode()
    assert set(Server.objects.values_list("maintenance", flat=True)) == {True}
    assert AuditEntry.objects.get().what == {"maintenance": {"from": False, "to": True}}
    for action in ("maintenance_off", "read_only_on", "read_only_off"):
        admin_client.post(LIST, {"action": action, "_selected_action": ids})
    assert AuditEntry.objects.count() == 7
    assert not Server.objects.filter(maintenance=True).exists()
    assert not Server.objects.filter(read_only=True).exists()


def test_a_viewer_turns_no_switch(client_with: Callable[..., Client]) -> None:
    server = make_server()
    viewer = client_with("view_server")
    viewer.post(LIST, {"action": "maintenance_on", "_selected_action": [server.pk]})
    assert not Server.objects.filter(maintenance=True).exists()


def test_the_audit_tells_of_servers_that_come_change_and_go_and_of_no_secret(admin_client: Client) -> None:
    admin_client.post(ADD, fields(secret=SECRET))
    server = Server.objects.get()
    admin_client.post(change_page(server), fields(secret="another-word", notes="in the cellar"))
    admin_client.post(change_page(server), fields(notes="in the cellar"))  # nothing changed
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": [server.pk], "post": "yes"})
    entries = AuditEntry.objects.order_by("pk")
    assert [entry.verb for entry in entries] == ["server.add", "server.change", "server.delete"]
    assert entries[1].what == {
        "secret": {"from": "********", "to": "********"},
        "notes": {"from": "", "to": "in the cellar"},
    }
    text = str(list(entries.values()))
    assert SECRET not in text and "another-word" not in text
    assert {entry.object_id for entry in entries} == {str(server.pk)}


def test_the_audit_tells_which_rules_lose_a_tag_or_a_server(admin_client: Client) -> None:
    server, tag = make_server(), Tag.objects.create(name="north")
    server.tags.add(tag)
    person = make_person("ada")
    grant(person, on=tag, deny=True, name="hands off the north")
    grant(person, on=server, name="Berlin's people")
    admin_client.post(f"/admin/ami_integration/tag/{tag.pk}/delete/", {"post": "yes"})
    admin_client.post(f"{LIST}{server.pk}/delete/", {"post": "yes"})
    first, second = AuditEntry.objects.order_by("pk")
    assert first.what == {"servers": ["Berlin"], "access_rules": ["hands off the north"]}
    assert second.what == {"tags": [], "access_rules": ["Berlin's people"]}


TUNNEL = {
    "transport": "ssh",
    "host": "127.0.0.1",
    "ssh_host": "pbx.example",
    "ssh_username": "tunnel",
    "ssh_key": "-----BEGIN KEY-----\r\nabc\r\n-----END KEY-----",
    "ssh_host_key": f"SHA256:{'A' * 43}",
    "secret": SECRET,
}


def test_an_ssh_tunnel_is_stored_with_its_key_encrypted_and_shown_to_nobody(admin_client: Client) -> None:
    assert admin_client.post(ADD, fields(**TUNNEL)).status_code == 302
    server = Server.objects.get()
    transport = server.ami_transport()
    assert isinstance(transport, SSH)
    assert transport.ssh_key == "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"
    assert server.address == "127.0.0.1:5038 through the SSH server pbx.example:22"
    refused = admin_client.post(ADD, fields(**TUNNEL | {"port": "no"})).content.decode()
    for page in (admin_client.get(change_page(server)).content.decode(), refused):
        assert "BEGIN KEY" not in page
    assert "BEGIN KEY" not in str(list(AuditEntry.objects.values("what")))


def test_half_a_tunnel_and_pins_that_are_none_are_refused_beside_the_field(admin_client: Client) -> None:
    half = TUNNEL | {"ssh_host": "", "ssh_key": "", "ssh_host_key": "whatever", "tls_pin": "12:34"}
    page = admin_client.post(ADD, fields(**half)).content.decode()
    for said in ("Enter the SSH server", "Enter a private key, or a password", "as in ssh-ed25519", "64 hex"):
        assert said in page
    assert not Server.objects.exists()


def test_stored_secrets_do_not_follow_another_pin_or_another_ssh_server(admin_client: Client) -> None:
    admin_client.post(ADD, fields(**TUNNEL))
    server = Server.objects.get()
    moved = TUNNEL | {"ssh_host": "evil.example", "ssh_key": "", "secret": ""}
    page = admin_client.post(change_page(server), fields(**moved)).content.decode()
    assert page.count("Enter the secret again") == 2
    kept = TUNNEL | {"ssh_key": "", "secret": "", "notes": "edited"}
    assert admin_client.post(change_page(server), fields(**kept)).status_code == 302
    assert Server.objects.get().ssh_key == server.ssh_key


def test_another_transport_keeps_no_ssh_secret(admin_client: Client) -> None:
    admin_client.post(ADD, fields(**TUNNEL))
    page = change_page(Server.objects.get())
    assert admin_client.post(page, fields(secret=SECRET)).status_code == 302
    assert Server.objects.get().ssh_key is None


def test_a_certificate_that_nobody_vouches_for_is_shown_and_pinned_only_by_saving(
    admin_client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "server.pem"
    file.write_bytes(make_certificates(expired=True).server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    talk = healthy("Ping")
    with scripted(lambda peer: None, lambda peer: None, talk, tls=context) as transport:
        server = make_server(TLS(transport.host, transport.port))
        page = admin_client.post(doctor_page(server)).content.decode()
        assert "Trust this certificate" in page
        pin = re.search(r'name="tls_pin" value="([^"]+)"', page)
        assert pin is not None and f"<dd>{pin[1]}</dd>" in page
        form = admin_client.get(change_page(server), {"tls_pin": pin[1]}).content.decode()
        assert "Not saved yet." in form and pin[1] in form
        assert Server.objects.get().tls_pin == ""
        values = fields(transport="tls", host=server.host, port=str(server.port), tls_pin=pin[1])
        assert "Enter the secret again" in admin_client.post(change_page(server), values).content.decode()
        assert admin_client.post(change_page(server), values | {"secret": SECRET}).status_code == 302
        page = admin_client.post(doctor_page(server)).content.decode()
    assert "it is the pinned certificate" in page
    assert ">Works<" in page
    health = Server.objects.get().health
    assert health.certificate_sha256 == pin[1].replace(":", "").lower()
    assert health.certificate_not_after is not None and health.certificate_not_after < timezone.now()
    shown = admin_client.get(f"{LIST}{server.pk}/").content.decode()
    assert 'data-ending="urgent">expired' in shown
