"""The form of a schedule. What it refuses, it refuses beside the field, with what to write instead."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any

from django import forms
from django.utils import timezone

from ami_integration.access.services import servers_visible
from ami_integration.actions.forms import ActionFieldsMixin, HeadersField, Pairs, headers_text
from ami_integration.actions.masking import MASK
from ami_integration.actions.placeholders import HiddenValueMissing, Kept, stars_restore
from ami_integration.schedules.calendar import BadTiming, next_times, timing_words
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.services import schedule_ask
from ami_integration.servers.encryption import SecretUnreadable

PREVIEW = 10


class TimingForm(forms.ModelForm):
    """The fields that say when; by itself, it answers the preview."""

    class Meta:
        model = Schedule
        fields: tuple[str, ...] = ("kind", "crontab", "interval_seconds", "timezone")

    def clean(self) -> dict[str, Any]:
        super().clean()
        if not any(name in self.errors for name in TimingForm.Meta.fields):
            try:
                if not self.next_times(count=1):
                    self.add_error("crontab", "No day of the calendar fits this crontab.")
            except BadTiming as error:
                self.add_error(error.field, str(error))
        return self.cleaned_data

    def timing(self, *, now: datetime) -> SimpleNamespace:
        """What the calendar reads, as far as the fields are clean; an interval is counted from now."""
        values = {name: self.cleaned_data[name] for name in TimingForm.Meta.fields}
        return SimpleNamespace(**values, anchor_at=now)

    def next_times(self, *, count: int) -> list[datetime]:
        """The next planned times if it were saved now. Raises `BadTiming`."""
        now = timezone.now()
        return next_times(timing=self.timing(now=now), after=now, count=count)

    def words(self) -> str:
        """The timing in words. Raises `BadTiming`."""
        return timing_words(timing=self.timing(now=timezone.now()))


class ScheduleForm(ActionFieldsMixin, TimingForm):
    """A whole schedule. `user` and `address` are set by the admin: who saves it becomes its owner."""

    user: Any = None
    address = ""
    #: The id of the person who wrote what is to be hidden of the headers.
    hidden_by: int | None = None
    headers = HeadersField()

    class Meta(TimingForm.Meta):
        fields = ("name", "action", "kind", "crontab", "interval_seconds", "timezone", "enabled")
        widgets = {"timezone": forms.TextInput(attrs={"list": "timezones", "class": "vTextField"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "server" in self.fields:
            self.fields["server"].queryset = servers_visible(user=self.user)  # type: ignore[attr-defined]
        if self.instance.pk:
            self.initial["headers"] = headers_text(self.instance.headers_masked)

    def _hidden_restore(self) -> None:
        """Put hidden values back where their stars were left alone: for the same action and server only.

        A secret that was typed for one PBX must not be sent to another, nor in an action that tells it to
        everybody, by an edit of somebody who never knew it.
        """
        values = self.cleaned_data
        self.hidden_by = self.user.pk
        if not any(MASK in value for _, value in values["headers"]):
            return
        self.hidden_by = self.instance.hidden_by_id
        own = self.hidden_by == self.user.pk
        try:
            values["headers"] = stars_restore(values["headers"], self._hidden_for(values), own=own)
        except SecretUnreadable as error:
            self.add_error("headers", f"{error} Or write the hidden values anew.")
        except HiddenValueMissing as missing:
            self.add_error("headers", self._hidden_moved(missing.header, values) or str(missing))

    def _hidden_for(self, values: dict[str, Any]) -> Pairs:
        """The stored headers, as far as they may go where the form sends them. Raises SecretUnreadable."""
        stored = self.instance
        if not stored.pk:
            return []
        kept = Kept(self.user.pk, stored.action, stored.headers_in_clear(), [stored.server_id])
        return kept.for_request(user=self.user, action=values["action"], servers=[values["server"].pk])

    def _hidden_moved(self, header: str, values: dict[str, Any]) -> str:
        """What to say of a hidden value that was stored for another action or server; "" if it is neither."""
        if not self.instance.pk:
            return ""
        stored, server = self.instance, values["server"]
        if server.pk != stored.server_id:
            what = f"server was {stored.server.name} and is {server.name} now"
        elif values["action"].strip().lower() != stored.action.strip().lower():
            what = f"action was {stored.action} and is {values['action'].strip()} now"
        else:
            return ""
        return f"The {what}, and the hidden value of {header} was not meant for that. Type it again."

    def clean(self) -> dict[str, Any]:
        super().clean()
        values = self.cleaned_data
        if not {"server", "action", "headers"} - values.keys():
            self._hidden_restore()
        self.check_action(self)
        if not {"server", "action", "headers"} - values.keys():
            refusal = schedule_ask(
                user=self.user,
                server=values["server"],
                action=values["action"],
                headers=values["headers"],
                address=self.address,
            )
            if refusal:
                self.add_error(None, refusal)
        return self.cleaned_data
