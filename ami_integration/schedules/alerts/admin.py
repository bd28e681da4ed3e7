"""Alerts in the admin: the channels, what is or was wrong, and what was sent.

Who may change channels decides where amiweb sends mail and POSTs (`sending` says what that reaches), so of
the starter groups only Administrator may. Alerts and deliveries are shown of the schedules that one sees.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from ami_integration.audit.admin import AuditedAdmin, ReadOnlyAdmin
from ami_integration.audit.services import request_address
from ami_integration.schedules.alerts import services
from ami_integration.schedules.alerts.failures import failure_shown
from ami_integration.schedules.alerts.forms import ChannelForm
from ami_integration.schedules.alerts.models import Alert, AlertChannel, AlertDelivery, AlertDeliveryQuerySet
from ami_integration.schedules.alerts.sending import NO_MAIL_SERVER
from ami_integration.schedules.models import Schedule
from ami_integration.secrets.forms import fieldsets_replacing

_Status = AlertDelivery.Status


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}"


def _badge(state: str, words: str) -> SafeString:
    return format_html('<span class="aw-state" data-state="{}">{}</span>', state, words)


#: The colour of a delivery's state: those of runs.
_COLOURS = {_Status.WAITING: "queued", _Status.SENT: "succeeded", _Status.GIVEN_UP: "failed"}


@admin.register(AlertChannel)
class AlertChannelAdmin(AuditedAdmin):
    """Whom alerts are sent to."""

    audit_hidden = ("url", "secret")
    form = ChannelForm
    change_form_template = "ami_integration/schedules/alerts/channel_form.html"
    change_list_template = "ami_integration/schedules/alerts/channel_list.html"
    list_display = ("name", "kind", "where", "used_by", "newest", "enabled")
    list_filter = ("kind", "enabled")
    search_fields = ("name", "addresses", "url_shown")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertChannel]:
        newest = AlertDelivery.objects.filter(channel=OuterRef("pk")).order_by("-created_at", "-pk")
        waiting = Count("deliveries", filter=Q(deliveries__status=_Status.WAITING), distinct=True)
        return (
            super()
            .get_queryset(request)
            .annotate(
                used=Count("schedules", distinct=True),
                waiting=waiting,
                newest_status=Subquery(newest.values("status")[:1]),
                newest_error=Subquery(newest.values("last_error")[:1]),
                newest_at=Subquery(newest.values("created_at")[:1]),
            )
        )

    def get_fieldsets(self, request: HttpRequest, obj: AlertChannel | None = None) -> Any:
        own = (None, {"fields": ("name", "kind", "enabled")})
        if obj is not None and not self.has_change_permission(request, obj):
            return (own, ("Where", {"fields": ("addresses", "url_shown")}))
        signing = ("secret", "unsigned") if obj is not None and obj.secret is not None else ("secret",)
        fieldsets = (
            own,
            ("Mail", {"fields": ("addresses",), "description": "For the kind Mail."}),
            (
                "Webhook",
                {
                    "fields": ("url", *signing),
                    "description": "For the kind Webhook: a POST of JSON, which docs/alerts.md describes.",
                },
            ),
        )
        return fieldsets_replacing(fieldsets, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: AlertChannel | None = None) -> tuple[str, ...]:
        return () if self.has_change_permission(request, obj) else ("url_shown",)

    @admin.display(description="where")
    def where(self, channel: AlertChannel) -> str:
        if channel.kind == AlertChannel.Kind.WEBHOOK:
            return f"{channel.url_shown}{'' if channel.secret is None else ', signed'}"
        first, *more = channel.address_list or ["nobody"]
        return f"{first} and {len(more)} more" if more else first

    @admin.display(description="schedules", ordering="used")
    def used_by(self, channel: Any) -> str:
        return str(channel.used) if channel.used else "none"

    @admin.display(description="last message", ordering="newest_at")
    def newest(self, channel: Any) -> Any:
        if channel.kind == AlertChannel.Kind.MAIL and services.mail_is_missing():
            return format_html("{} {}", _badge("failed", "Can't be sent"), NO_MAIL_SERVER)
        if channel.newest_status is None:
            return "none yet"
        status = _Status(channel.newest_status)
        more = f" ({channel.waiting} waiting)" if channel.waiting > 1 else ""
        return format_html(
            "{} {}{} {}",
            _badge(_COLOURS[status], status.label),
            _moment(channel.newest_at),
            more,
            channel.newest_error,
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Alert channels"} | (extra_context or {}))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        channel: AlertChannel | None = kwargs.get("obj")
        if services.mail_is_missing() and (channel is None or channel.kind == AlertChannel.Kind.MAIL):
            context["mail_problem"] = NO_MAIL_SERVER
        if channel is not None:
            seen = Schedule.objects.visible_to(request.user)
            context["used_by"] = seen.filter(alert_channels=channel).order_by("name")[:50]
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        test = self.admin_site.admin_view(require_POST(self.test_view))
        return [
            path("<int:channel_id>/test/", test, name="ami_integration_alertchannel_test"),
            *super().get_urls(),
        ]

    def test_view(self, request: HttpRequest, channel_id: int) -> HttpResponse:
        """The button: a message now, as the channel is stored, and what came of it."""
        channel = self.get_object(request, str(channel_id))
        if channel is None:
            messages.warning(request, "That channel is gone; there is nothing to test.")
            return HttpResponseRedirect(reverse("admin:ami_integration_alertchannel_changelist"))
        if not self.has_change_permission(request, channel):
            raise PermissionDenied
        try:
            what = services.channel_test(user=request.user, channel=channel, address=request_address(request))
        except services.NotSent as error:
            messages.error(request, f"The test message did not arrive. {error}")
        else:
            messages.success(request, f"The test message arrived. {what}")
        return HttpResponseRedirect(reverse("admin:ami_integration_alertchannel_change", args=(channel.pk,)))


class OpenFilter(admin.SimpleListFilter):
    """Those that are open, and those that are over."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return (("open", "Open"), ("over", "Over"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        if self.value() not in ("open", "over"):
            return queryset
        return queryset.filter(closed_at__isnull=self.value() == "open")


class _AlertPages(ReadOnlyAdmin):
    """What alerts and deliveries share."""

    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        return rows.visible_to(request.user)


@admin.register(Alert)
class AlertAdmin(_AlertPages):
    """What is or was wrong with schedules."""

    change_form_template = "ami_integration/schedules/alerts/alert.html"
    change_list_template = "ami_integration/schedules/alerts/alert_list.html"
    list_display = ("state", "what", "whose", "says", "opened", "over")
    list_display_links = ("what",)
    list_filter = (OpenFilter, "kind")
    search_fields = ("schedule_name", "text")
    fields = ("state", "what", "schedule_link", "says", "opened", "over", "over_why")
    readonly_fields = fields

    def get_fields(self, request: HttpRequest, obj: Alert | None = None) -> tuple[str, ...]:
        return self.fields if obj is None or obj.closed_at is not None else self.fields[:-1]

    @admin.display(description="state", ordering="closed_at")
    def state(self, alert: Alert) -> SafeString:
        return _badge("failed", "Open") if alert.closed_at is None else _badge("ok", "Over")

    @admin.display(description="alert", ordering="kind")
    def what(self, alert: Alert) -> str:
        return alert.get_kind_display()

    @admin.display(description="schedule", ordering="schedule_name")
    def whose(self, alert: Alert) -> str:
        return alert.schedule_name

    @admin.display(description="schedule")
    def schedule_link(self, alert: Alert) -> str:
        if alert.schedule_id is None:
            return f"{alert.schedule_name} (deleted)"
        url = reverse("admin:ami_integration_schedule_change", args=(alert.schedule_id,))
        return format_html('<a href="{}">{}</a>', url, alert.schedule_name)

    @admin.display(description="what is wrong")
    def says(self, alert: Alert) -> str:
        return alert.text

    @admin.display(description="why it is over")
    def over_why(self, alert: Alert) -> str:
        return alert.closing_text

    @admin.display(description="since", ordering="opened_at")
    def opened(self, alert: Alert) -> str:
        return _moment(alert.opened_at)

    @admin.display(description="until", ordering="closed_at")
    def over(self, alert: Alert) -> str:
        return _moment(alert.closed_at) or "now"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Alerts"} | (extra_context or {}))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        alert: Alert | None = kwargs.get("obj")
        if alert is not None:
            context["title"] = str(alert)
            context["failure"] = failure_shown(alert=alert, user=request.user)
            context["deliveries"] = alert.deliveries.order_by("closing", "channel_name")
        return super().render_change_form(request, context, *args, **kwargs)


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(_AlertPages):
    """What was sent, what waits, and each attempt."""

    change_form_template = "ami_integration/schedules/alerts/delivery.html"
    change_list_template = "ami_integration/schedules/alerts/delivery_list.html"
    actions = ("send_again",)
    list_display = ("asked_for", "whom", "tells", "progress", "last_error")
    list_display_links = ("asked_for",)
    list_filter = ("status", ("channel", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("alert",)
    search_fields = ("channel_name", "alert__schedule_name")
    fields = ("state", "whom", "alert_link", "asked_for", "sent", "attempts", "next_attempt")
    readonly_fields = fields

    @admin.display(description="since", ordering="created_at")
    def asked_for(self, delivery: AlertDelivery) -> str:
        return _moment(delivery.created_at)

    @admin.display(description="channel", ordering="channel_name")
    def whom(self, delivery: AlertDelivery) -> str:
        return delivery.channel_name

    @admin.display(description="tells")
    def tells(self, delivery: AlertDelivery) -> str:
        return f"{'Over: ' if delivery.closing else ''}{delivery.alert}"

    @admin.display(description="alert")
    def alert_link(self, delivery: AlertDelivery) -> SafeString:
        url = reverse("admin:ami_integration_alert_change", args=(delivery.alert_id,))
        return format_html('<a href="{}">{}</a>', url, self.tells(delivery))

    @admin.display(description="state", ordering="status")
    def state(self, delivery: AlertDelivery) -> SafeString:
        return _badge(_COLOURS[_Status(delivery.status)], delivery.get_status_display())

    @admin.display(description="state", ordering="status")
    def progress(self, delivery: AlertDelivery) -> SafeString:
        """The state and what there is to say of its attempts, in one column of the list."""
        told = "1 attempt" if delivery.attempts == 1 else f"{delivery.attempts} attempts"
        if delivery.status == _Status.WAITING:
            told += f", next at {_moment(delivery.next_try_at)}"
        return format_html('{} <span class="aw-quiet">{}</span>', self.state(delivery), told)

    @admin.display(description="sent", ordering="sent_at")
    def sent(self, delivery: AlertDelivery) -> str:
        return _moment(delivery.sent_at) or "not yet" if delivery.status != _Status.GIVEN_UP else "never"

    @admin.display(description="next attempt", ordering="next_try_at")
    def next_attempt(self, delivery: AlertDelivery) -> str:
        return _moment(delivery.next_try_at) if delivery.status == _Status.WAITING else "none"

    def get_urls(self) -> list[URLPattern]:
        retry = self.admin_site.admin_view(require_POST(self.retry_view))
        return [
            path("<int:delivery_id>/retry/", retry, name="ami_integration_alertdelivery_retry"),
            *super().get_urls(),
        ]

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Who may change channels may have them sent to."""
        return bool(request.user.has_perm("ami_integration.change_alertchannel"))

    @admin.action(description="Send again what was given up", permissions=["retry"])
    def send_again(self, request: HttpRequest, queryset: AlertDeliveryQuerySet) -> None:
        """One more attempt at each that was given up, by a worker."""
        chosen = queryset.count()
        number = services.deliveries_retry(
            user=request.user, deliveries=queryset, address=request_address(request)
        )
        if left := chosen - number:
            messages.warning(
                request,
                f"{left} not sent again: only what was given up is, to a channel that is there and enabled.",
            )
        if number:
            messages.success(
                request,
                f"{number} sent again by a worker now. Load this page again in some seconds to see what "
                "came of it.",
            )

    def retry_view(self, request: HttpRequest, delivery_id: int) -> HttpResponse:
        """The button: one more attempt at what was given up, by a worker."""
        if not (self.has_view_permission(request) and self.has_retry_permission(request)):
            raise PermissionDenied
        delivery = self.get_object(request, str(delivery_id))
        if delivery is None:
            messages.warning(request, "That delivery is gone; there is nothing to send again.")
            return HttpResponseRedirect(reverse("admin:ami_integration_alertdelivery_changelist"))
        try:
            services.delivery_retry(user=request.user, delivery=delivery, address=request_address(request))
        except services.RetryRefused as error:
            messages.error(request, str(error))
        else:
            messages.success(
                request, "It is sent again. Load this page again in some seconds to see what came of it."
            )
        return HttpResponseRedirect(
            reverse("admin:ami_integration_alertdelivery_change", args=(delivery.pk,))
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Alert deliveries"} | (extra_context or {}))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        delivery: AlertDelivery | None = kwargs.get("obj")
        if delivery is not None:
            context["title"] = f"{delivery.channel_name}: {self.tells(delivery)}"
            context["tries"] = [
                (_moment(datetime.fromisoformat(one["at"])) if one["at"] else "unknown", one["what"])
                for one in delivery.tries
            ]
            context["may_retry"] = self.has_retry_permission(request) and delivery.status == _Status.GIVEN_UP
            context["told"] = delivery.alert.closing_text if delivery.closing else delivery.alert.text
        return super().render_change_form(request, context, *args, **kwargs)
