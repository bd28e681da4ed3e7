"""The pages of alerts: channels, what is wrong, what was sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.audit.models import AuditEntry
from ami_integration.schedules.alerts.delivery import channel_deliver
from ami_integration.schedules.alerts.models import Alert, AlertChannel, AlertDelivery
from tests.actions.factories import make_user
from tests.schedules.alerts.factories import make_alert, make_channel, make_watched, make_webhook
from tests.schedules.alerts.receivers import Receiver, receiving

pytestmark = pytest.mark.django_db
LIST = reverse("admin:ami_integration_alertchannel_changelist")
ADD = reverse("admin:ami_integration_alertchannel_add")


def page_of(channel: AlertChannel) -> str:
    return reverse("admin:ami_integration_alertchannel_change", args=(channel.pk,))


def post(client: Client, page: str, /, **values: Any) -> Any:
    return client.post(page, {"name": "Night shift", "kind": "mail", "enabled": "on"} | values, follow=True)


def text_of(response: Any) -> str:
    return str(response.content.decode())


def test_addresses_are_kept_one_a_line(admin_client: Client) -> None:
    post(admin_client, ADD, addresses="ada@example.com, bo@example.com\n\nada@example.com")
    assert AlertChannel.objects.get().address_list == ["ada@example.com", "bo@example.com"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"addresses": ""}, "Enter at least one mail address."),
        ({"addresses": "Ada <ada@example.com>"}, "“Ada” is not a mail address."),
        ({"addresses": "\n".join(f"p{n}@example.com" for n in range(21))}, "20 are the most"),
        ({"kind": "webhook"}, "Enter the URL that the receiver gave you."),
        ({"kind": "webhook", "url": "ftp://chat.example.com"}, "begins with https"),
    ],
)
def test_a_channel_that_can_not_work_is_refused(
    admin_client: Client, values: dict[str, str], words: str
) -> None:
    assert words in text_of(post(admin_client, ADD, **values))
    assert not AlertChannel.objects.exists()


def test_a_webhooks_url_and_secret_go_in_and_never_come_out(admin_client: Client) -> None:
    secret = {"url": "https://chat.example.com:8443/very-s3cret", "secret": "s1gning-word"}
    post(admin_client, ADD, kind="webhook", **secret)
    channel = AlertChannel.objects.get()
    assert channel.url is not None and channel.url.reveal() == secret["url"]
    assert channel.secret is not None and channel.secret.reveal() == secret["secret"]
    for url in (LIST, page_of(channel)):
        page = text_of(admin_client.get(url))
        assert "https://chat.example.com:8443" in page
        assert "very-s3cret" not in page and "s1gning-word" not in page
    audit = str(list(AuditEntry.objects.values_list("what", flat=True)))
    assert "very-s3cret" not in audit and "s1gning-word" not in audit
    assert AuditEntry.objects.get().verb == "alertchannel.add"
    refused = post(admin_client, ADD, kind="webhook", name="", **secret)
    assert "very-s3cret" not in text_of(refused)


def test_left_empty_both_are_kept(admin_client: Client) -> None:
    channel = make_webhook("https://chat.example.com/one", secret="s1gning-word")
    post(admin_client, page_of(channel), kind="webhook", name="Renamed")
    channel = AlertChannel.objects.get()
    assert (channel.name, channel.url.reveal()) == ("Renamed", "https://chat.example.com/one")
    assert channel.secret is not None and channel.secret.reveal() == "s1gning-word"


def test_the_signing_secret_signs_for_no_other_receiver(admin_client: Client) -> None:
    channel = make_webhook("https://chat.example.com/one", secret="s1gning-word")
    other = "https://other.example.com/two"
    refused = post(admin_client, page_of(channel), kind="webhook", url=other)
    assert "The URL changed. Enter the signing secret" in text_of(refused)
    post(admin_client, page_of(channel), kind="webhook", url=other, unsigned="on")
    channel = AlertChannel.objects.get()
    assert (channel.url.reveal(), channel.url_shown) == (other, "https://other.example.com")
    assert channel.secret is None


def test_a_channel_that_becomes_mail_forgets_its_url(admin_client: Client) -> None:
    channel = make_webhook("https://chat.example.com/one", secret="s1gning-word")
    post(admin_client, page_of(channel), addresses="ada@example.com")
    channel = AlertChannel.objects.get()
    assert (channel.url, channel.secret, channel.url_shown) == (None, None, "")


def test_the_test_button_sends_at_once_and_says_what_came_of_it(admin_client: Client) -> None:
    with receiving(200, 404) as receiver:
        channel = make_webhook(receiver.url, url_shown=receiver.base)
        url = reverse("admin:ami_integration_alertchannel_test", args=(channel.pk,))
        page = text_of(admin_client.post(url, follow=True))
        assert f"The test message arrived. {receiver.base} answered 200." in page
        page = text_of(admin_client.post(url, follow=True))
        assert f"The test message did not arrive. {receiver.base} answered 404." in page
        assert Receiver.SECRET_PATH not in page
    assert set(AuditEntry.objects.values_list("verb", flat=True)) == {"alertchannel.test"}
    assert not AlertDelivery.objects.exists()


def test_the_test_button_is_for_who_may_change_channels(client: Client) -> None:
    channel = make_channel()
    url = reverse("admin:ami_integration_alertchannel_test", args=(channel.pk,))
    client.force_login(make_user("viewer", "view_alertchannel"))
    assert client.post(url).status_code == 403
    assert client.get(url).status_code == 405
    assert "Send a test message" not in text_of(client.get(page_of(channel)))
    client.force_login(make_user("stranger"))
    assert client.post(url).status_code == 403


def test_who_may_only_look_sees_where_it_goes_without_the_url(client: Client) -> None:
    channel = make_webhook("https://chat.example.com/very-s3cret", url_shown="https://chat.example.com")
    client.force_login(make_user("viewer", "view_alertchannel"))
    page = text_of(client.get(page_of(channel)))
    assert "https://chat.example.com" in page
    assert "very-s3cret" not in page and '<input type="password"' not in page


def test_a_missing_mail_server_shows_at_the_channels_that_want_it(admin_client: Client) -> None:
    channel = make_channel()
    for url in (LIST, page_of(channel)):
        assert "AMIWEB_SMTP_HOST is not set" in text_of(admin_client.get(url))


def test_alerts_and_deliveries_are_seen_with_their_schedule(client: Client) -> None:
    make_alert(make_channel())
    stranger = make_user("eve", "view_schedule", "view_alert", "view_alertdelivery")
    stranger.groups.clear()  # no access rule any more
    pages = {
        Alert: reverse("admin:ami_integration_alert_changelist"),
        AlertDelivery: reverse("admin:ami_integration_alertdelivery_changelist"),
    }
    for user, sees in (
        (make_user("bo", "view_schedule", "view_alert", "view_alertdelivery"), True),
        (stranger, False),
    ):
        client.force_login(user)
        for model, url in pages.items():
            row = model.objects.get()
            assert ("Nightly" in text_of(client.get(url))) is sees
            one = reverse(f"admin:ami_integration_{model._meta.model_name}_change", args=(row.pk,))
            assert (client.get(one).status_code == 200) is sees


def test_alerts_of_deleted_schedules_are_for_whoever_sees_all_servers(client: Client) -> None:
    make_alert().schedule.delete()  # type: ignore[union-attr]
    url = reverse("admin:ami_integration_alert_changelist")
    client.force_login(bo := make_user("bo", "view_schedule", "view_alert"))
    assert "Nightly" in text_of(client.get(url))
    bo.groups.clear()  # no access rule any more
    assert "Nightly" not in text_of(client.get(url))


def test_a_delivery_shows_every_attempt(admin_client: Client) -> None:
    make_alert(make_channel())
    delivery = AlertDelivery.objects.get()
    delivery.tries = [
        {"at": None, "what": "The worker ended before it knew what came of it."},
        {"at": timezone.now().isoformat(), "what": "<b>chat</b> answered 503."},
    ]
    delivery.save()
    page = text_of(
        admin_client.get(reverse("admin:ami_integration_alertdelivery_change", args=(delivery.pk,)))
    )
    assert "The worker ended before" in page
    assert "&lt;b&gt;chat&lt;/b&gt; answered 503." in page


def given_up(**values: Any) -> tuple[AlertDelivery, str]:
    """A delivery that was given up after a day, and the URL of its button."""
    delivery = AlertDelivery.objects.get()
    values = {"status": "given_up", "created_at": timezone.now() - timedelta(days=2), "attempts": 30} | values
    AlertDelivery.objects.filter(pk=delivery.pk).update(**values)
    return delivery, reverse("admin:ami_integration_alertdelivery_retry", args=(delivery.pk,))


def test_what_was_given_up_is_sent_when_somebody_says_try_again(admin_client: Client) -> None:
    with receiving(404, 200) as receiver:
        channel = make_webhook(receiver.url)
        make_alert(channel)
        delivery, button = given_up()
        assert "Send again" in text_of(
            admin_client.get(reverse("admin:ami_integration_alertdelivery_change", args=(delivery.pk,)))
        )
        for status, attempts in (("given_up", 31), ("sent", 32)):
            assert "It is sent again." in text_of(admin_client.post(button, follow=True))
            channel_deliver(channel_id=channel.pk)
            delivery.refresh_from_db()
            assert (delivery.status, delivery.attempts) == (status, attempts)
    assert [entry.verb for entry in AuditEntry.objects.all()] == ["alertdelivery.retry"] * 2
    page = admin_client.post(button, follow=True)
    assert "It was not given up" in text_of(page) and "Send again" not in text_of(page)
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("gone", [True, False])
def test_nothing_is_tried_again_for_a_channel_that_takes_nothing(admin_client: Client, gone: bool) -> None:
    channel = make_channel()
    make_alert(channel)
    delivery, button = given_up()
    if gone:
        channel.delete()
    else:
        AlertChannel.objects.update(enabled=False)
    words = "Its channel was deleted" if gone else "The channel “On call” is disabled. Enable it first."
    assert words in text_of(admin_client.post(button, follow=True))
    delivery.refresh_from_db()
    assert delivery.status == "given_up"
    assert not AuditEntry.objects.exists()


def test_only_who_may_change_channels_has_a_delivery_tried_again(client: Client) -> None:
    make_alert(make_channel())
    delivery, button = given_up()
    page = reverse("admin:ami_integration_alertdelivery_change", args=(delivery.pk,))
    client.force_login(make_user("viewer", "view_schedule", "view_alertdelivery"))
    assert "Send again" not in text_of(client.get(page))
    assert client.post(button).status_code == 403
    assert client.get(button).status_code == 405
    permissions = ("view_schedule", "view_alertdelivery", "change_alertchannel")
    client.force_login(stranger := make_user("stranger", *permissions))
    stranger.groups.clear()  # no access rule any more, so no sight of the schedule
    assert "That delivery is gone" in text_of(client.post(button, follow=True))
    client.force_login(make_user("changer", *permissions))
    assert "It is sent again." in text_of(client.post(button, follow=True))
    delivery.refresh_from_db()
    assert delivery.status == "waiting"


def send_again(client: Client, **values: Any) -> Any:
    """The action of the list, for all of its rows."""
    values = {
        "action": "send_again",
        "_selected_action": list(AlertDelivery.objects.values_list("pk", flat=True)),
    } | values
    return client.post(reverse("admin:ami_integration_alertdelivery_changelist"), values, follow=True)


def test_what_was_given_up_is_sent_again_for_all_that_are_selected(admin_client: Client) -> None:
    with receiving() as receiver:
        channel = make_webhook(receiver.url)
        disabled, deleted = make_channel(enabled=False), make_channel(name="Deleted")
        for number in range(3):
            schedule = make_watched(channel, name=f"Nightly {number}")
            make_alert(*[channel, disabled, deleted][: 3 - number], schedule=schedule)
        AlertDelivery.objects.update(status="given_up", created_at=timezone.now() - timedelta(days=2))
        deleted.delete()
        AlertDelivery.objects.filter(alert__schedule_name="Nightly 0", channel=channel).update(status="sent")
        page = text_of(send_again(admin_client))
        assert "2 sent again by a worker now." in page and "4 not sent again:" in page
        assert channel_deliver(channel_id=channel.pk) == 2
        assert len(receiver.requests) == 2
    assert sorted(AlertDelivery.objects.values_list("status", flat=True)) == ["given_up"] * 3 + ["sent"] * 3
    assert [(entry.verb, entry.what) for entry in AuditEntry.objects.all()] == [
        ("alertdelivery.retry", {"channel": "Chat"})
    ] * 2


def test_all_that_was_given_up_goes_from_a_filtered_list(admin_client: Client) -> None:
    make_alert(make_channel())
    given_up()
    url = reverse("admin:ami_integration_alertdelivery_changelist") + "?status__exact=given_up"
    chosen = list(AlertDelivery.objects.values_list("pk", flat=True))
    answer = admin_client.post(url, {"action": "send_again", "_selected_action": chosen}, follow=True)
    assert "1 sent again" in text_of(answer) and "not sent again" not in text_of(answer)


def test_the_action_is_for_who_may_change_channels_and_for_what_they_see(client: Client) -> None:
    make_alert(make_channel())
    given_up()
    client.force_login(make_user("viewer", "view_schedule", "view_alertdelivery"))
    assert "Send again" not in text_of(send_again(client))
    client.force_login(stranger := make_user("stranger", "view_alertdelivery", "change_alertchannel"))
    stranger.groups.clear()
    send_again(client)
    assert AlertDelivery.objects.get().status == "given_up"
    assert not AuditEntry.objects.exists()
    client.force_login(make_user("changer", "view_schedule", "view_alertdelivery", "change_alertchannel"))
    assert "1 sent again by a worker now." in text_of(send_again(client))
    assert AlertDelivery.objects.get().status == "waiting"


def test_an_alerts_page_says_who_was_told(admin_client: Client) -> None:
    alert = make_alert(make_channel(), closing=True, closed_at=timezone.now(), closing_text="It succeeded.")
    page = text_of(admin_client.get(reverse("admin:ami_integration_alert_change", args=(alert.pk,))))
    assert "that it began" in page and "that it is over" in page and "It succeeded." in page


def test_empty_lists_say_what_to_do(admin_client: Client) -> None:
    for name, words in (
        ("alertchannel", "There is no alert channel yet."),
        ("alert", "No alert yet."),
        ("alertdelivery", "Nothing was sent yet."),
    ):
        url = reverse(f"admin:ami_integration_{name}_changelist")
        assert words in text_of(admin_client.get(url))
        assert "matches" in text_of(admin_client.get(url, {"q": "nothing like that"}))


def test_lists_ask_the_same_number_of_queries_however_long_they_are(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    channels = [make_channel(name=f"Channel {number}") for number in range(5)]
    for number in range(8):
        make_alert(*channels, schedule=make_watched(*channels, name=f"Nightly {number}"))
    for name in ("alertchannel", "alert", "alertdelivery"):
        with django_assert_max_num_queries(14):
            admin_client.get(reverse(f"admin:ami_integration_{name}_changelist"))


def test_deleting_a_channel_keeps_what_it_was_sent(admin_client: Client) -> None:
    channel = make_channel()
    make_alert(channel)
    admin_client.post(
        reverse("admin:ami_integration_alertchannel_delete", args=(channel.pk,)), {"post": "yes"}
    )
    assert not AlertChannel.objects.exists()
    assert AlertDelivery.objects.get().channel_name == "On call"


def test_the_list_of_deliveries_tells_state_and_attempts_in_one_column(admin_client: Client) -> None:
    channel = make_channel()
    make_alert(channel)
    at = timezone.now()
    AlertDelivery.objects.update(attempts=1, next_try_at=at)
    listed = reverse("admin:ami_integration_alertdelivery_changelist")
    assert f"1 attempt, next at {timezone.localtime(at):%Y-%m-%d %H:%M:%S}" in text_of(
        admin_client.get(listed)
    )
    AlertDelivery.objects.update(status="given_up", attempts=30)
    page = text_of(admin_client.get(listed))
    assert "30 attempts</span>" in page
    assert "next at" not in page


@pytest.mark.parametrize(
    ("permissions", "leads"),
    [
        (("view_alert", "view_alertchannel"), "alert"),
        (("view_alert",), "alert"),
        (("view_alertchannel",), "alertchannel"),
        ((), ""),
    ],
)
def test_the_list_of_schedules_leads_to_the_alerts_or_the_channels_that_one_may_see(
    client: Client, permissions: tuple[str, ...], leads: str
) -> None:
    client.force_login(make_user("viewer", "view_schedule", *permissions))
    page = text_of(client.get(reverse("admin:ami_integration_schedule_changelist")))
    tools = page[page.index('id="content"') :]
    for name in ("alert", "alertchannel"):
        url = reverse(f"admin:ami_integration_{name}_changelist")
        assert (f'href="{url}"' in tools) == (name == leads)
