"""Blackouts in the admin: windows in which no schedule starts anything. They are typed in their own zone."""

import zoneinfo
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminTextInputWidget
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html

from ami_integration.access.services import tags_visible
from ami_integration.audit.admin import AuditedAdmin
from ami_integration.schedules.blackout_rights import blackout_refusal, window_refusal
from ami_integration.schedules.blackouts import Blackout, windows
from ami_integration.schedules.calendar import wall_moment
from ami_integration.schedules.durations import DurationField
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.page_views import pause_context
from ami_integration.schedules.timing_forms import WallTimeField, moment_text
from ami_integration.zones import zone_names

DAYS = (
    ("1", "Monday"),
    ("2", "Tuesday"),
    ("3", "Wednesday"),
    ("4", "Thursday"),
    ("5", "Friday"),
    ("6", "Saturday"),
    ("7", "Sunday"),
)
_WALL = ("starts_at", "ends_at")


class WeekdaysField(forms.MultipleChoiceField):
    """Days as boxes to tick; the clean value is their digits in order, as the model keeps them."""

    widget = forms.CheckboxSelectMultiple

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=DAYS, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return list(value) if isinstance(value, str) else value

    def clean(self, value: Any) -> Any:
        return "".join(sorted(super().clean(value)))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return "".join(sorted(initial or "")) != "".join(sorted(data or ()))


class MinutesField(DurationField):
    """A length of time that is kept in minutes."""

    def prepare_value(self, value: Any) -> Any:
        return super().prepare_value(value * 60 if isinstance(value, int) else value)

    def to_python(self, value: Any) -> Any:
        seconds = super().to_python(value)
        if seconds is None:
            return None
        if seconds % 60:
            raise forms.ValidationError("Write whole minutes, for example 90 min or 8 h.", code="no_minutes")
        return seconds // 60


class BlackoutForm(forms.ModelForm):
    """A blackout. `user` is set by the admin: whose schedules and tags are offered."""

    user: Any = None
    starts_at = WallTimeField(required=False, label="From")
    ends_at = WallTimeField(
        required=False, label="Until", help_text="From this moment on, things start again."
    )
    weekdays = WeekdaysField(required=False, label="Begins on")
    starts_time = forms.TimeField(
        required=False,
        label="At",
        help_text="Hours and minutes of a day of 24 hours, for example 22:00.",
        # No input of type time: a browser that speaks English would ask for AM and PM, and everything else
        # here, from crontabs to the sentences about this window, counts 24 hours.
        widget=forms.TimeInput(
            format="%H:%M",
            attrs={
                "pattern": r"([01]?[0-9]|2[0-3]):[0-5][0-9]",
                "placeholder": "HH:MM",
                "title": "Hours and minutes of a day of 24 hours, for example 22:00",
                "size": 5,
                "maxlength": 5,
                "autocomplete": "off",
            },
        ),
        error_messages={"invalid": "Write a time, for example 22:00."},
    )
    minutes = MinutesField(
        required=False, label="For", help_text="For example 90 min or 8 h; a week at most."
    )

    class Meta:
        model = Blackout
        fields = (
            "name",
            "enabled",
            "kind",
            "timezone",
            *_WALL,
            "weekdays",
            "starts_time",
            "minutes",
            "tag",
            "scope",
            "schedules",
        )
        widgets = {  # noqa: RUF012 - Django reads it as it stands
            "timezone": AdminTextInputWidget(attrs={"list": "timezones", "autocapitalize": "off"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "schedules" not in self.fields:
            return  # a form that may only be looked at
        for name in ("tag", "schedules"):  # they are made on pages of their own
            field: Any = self.fields[name]
            field.widget = getattr(field.widget, "widget", field.widget)
        tag: Any = self.fields["tag"]
        tag.queryset, tag.empty_label = tags_visible(user=self.user), "No tag: on all servers"
        schedules: Any = self.fields["schedules"]
        schedules.queryset = Schedule.objects.visible_to(self.user).only("pk", "name").order_by("name")
        if not schedules.queryset.exists():
            schedules.help_text = "There is no schedule yet that could be chosen."
        else:
            schedules.help_text = "For which alone it holds. Type a part of a name, or of an action."
        if self.instance.pk:
            zone = zoneinfo.ZoneInfo(self.instance.timezone)
            for name in _WALL:
                moment = getattr(self.instance, name)
                self.initial[name] = moment and moment.astimezone(zone).replace(tzinfo=None)

    def clean(self) -> dict[str, Any]:
        super().clean()
        values = self.cleaned_data
        if values.get("scope") == Blackout.Scope.SOME and not (values.get("schedules") or self._hidden()):
            self.add_error("schedules", "Choose at least one, or let it hold for every schedule.")
        zone = (values.get("timezone") or "").strip()
        if zone and zone not in zone_names():
            self.add_error(
                "timezone", f"There is no time zone “{zone}”. Write one like Europe/Berlin, or UTC."
            )
        elif zone:
            for name in _WALL:
                if values.get(name) is not None:
                    values[name] = wall_moment(values[name], zoneinfo.ZoneInfo(zone))
        if "scope" in values and (
            refusal := window_refusal(
                user=self.user,
                tag=values.get("tag"),
                scope=values["scope"],
                schedules=values.get("schedules") or (),
            )
        ):
            self.add_error(None, refusal)
        return values

    def _hidden(self) -> bool:
        """Whether it is about schedules that this form doesn't offer; they stay in it."""
        offered: Any = self.fields["schedules"]
        return bool(self.instance.pk) and (
            self.instance.schedules.exclude(pk__in=offered.queryset.order_by().values("pk")).exists()
        )


@admin.register(Blackout)
class BlackoutAdmin(AuditedAdmin):
    form = BlackoutForm
    change_form_template = "ami_integration/schedules/blackout_form.html"
    change_list_template = "ami_integration/schedules/blackout_list.html"
    list_display = ("name", "when", "holds_for", "now", "enabled")
    list_filter = ("enabled", "kind")
    list_select_related = ("tag",)
    search_fields = ("name",)
    # The admin of schedules answers what is typed, with those that the person sees: there may be thousands.
    autocomplete_fields = ("schedules",)
    fieldsets = (
        (None, {"fields": ("name", "enabled")}),
        (
            "When nothing starts",
            {"fields": ("kind", *_WALL, "weekdays", "starts_time", "minutes", "timezone")},
        ),
        (
            "For what",
            {
                "fields": ("tag", "scope", "schedules"),
                "description": "A chosen schedule that is deleted leaves the window; it never becomes "
                "everybody's by that.",
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Blackout]:
        # One of a tag that this person doesn't see is about servers that they don't see.
        seen = Q(tag=None) | Q(tag__in=tags_visible(user=request.user).values("pk"))
        found = super().get_queryset(request).filter(seen)
        return found.select_related("tag").prefetch_related("schedules")

    def get_form(
        self, request: HttpRequest, obj: Blackout | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, change, **kwargs)
        return type("BlackoutFormOfUser", (form,), {"user": request.user})

    def get_fieldsets(self, request: HttpRequest, obj: Blackout | None = None) -> Any:
        """Where it may only be looked at, schedules that this person doesn't see are counted, not named."""
        found = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return found
        seen = set(
            Schedule.objects.visible_to(request.user).filter(blackouts=obj).values_list("pk", flat=True)
        )

        @admin.display(description="schedules")
        def chosen(blackout: Blackout) -> str:
            all_of_it = list(blackout.schedules.all())
            names = [schedule.name for schedule in all_of_it if schedule.pk in seen]
            if hidden := len(all_of_it) - len(names):
                names.append(f"{hidden} that you don't see")
            return ", ".join(names) or "–"

        return [
            (name, options | {"fields": [chosen if one == "schedules" else one for one in options["fields"]]})
            for name, options in found
        ]

    def has_change_permission(self, request: HttpRequest, obj: Blackout | None = None) -> bool:
        may = super().has_change_permission(request, obj)
        return may and (obj is None or not blackout_refusal(user=request.user, blackout=obj))

    def has_delete_permission(self, request: HttpRequest, obj: Blackout | None = None) -> bool:
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or not blackout_refusal(user=request.user, blackout=obj))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Whoever edits a blackout takes no schedule out of it that the form didn't offer."""
        blackout: Blackout = form.instance
        offered = form.fields["schedules"].queryset.order_by().values("pk")
        others = list(blackout.schedules.exclude(pk__in=offered))
        super().save_related(request, form, formsets, change)
        blackout.schedules.add(*others)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": "Blackouts", **pause_context(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context |= pause_context(request) | {"timezones": sorted(zone_names())}
        blackout: Blackout | None = kwargs.get("obj")
        if blackout is not None and super().has_change_permission(request, blackout):
            context["refusal"] = blackout_refusal(user=request.user, blackout=blackout)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="when")
    def when(self, blackout: Blackout) -> str:
        return blackout.words or "–"

    @admin.display(description="for")
    def holds_for(self, blackout: Blackout) -> str:
        about = blackout.about
        if about is None:
            what = "all schedules"
        elif not about:
            what = "none: what it was about was deleted"
        else:
            what = f"{len(about)} schedule{'' if len(about) == 1 else 's'}"
        return f"{what} on servers with the tag {blackout.tag}" if blackout.tag is not None else what

    @admin.display(description="now")
    def now(self, blackout: Blackout) -> str:
        """Whether it holds now, until when, or when next."""
        if not blackout.enabled:
            return "–"
        now = timezone.now()
        coming = sorted(windows(blackout, now, now + timedelta(days=8)), key=lambda one: one.starts_at)
        if not coming:
            return "over" if blackout.ends_at and blackout.ends_at <= now else "not this week"
        first = coming[0]
        if first.starts_at <= now:
            until = moment_text(first.ends_at, blackout.timezone)
            return format_html('<span class="aw-state" data-state="late">Holds</span> until {}', until)
        return f"from {moment_text(first.starts_at, blackout.timezone)}"
