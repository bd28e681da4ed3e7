"""What the pages of schedules ask and do besides saving: the preview, and the buttons.

What changes something is a POST, and calls a service. What runs something, or lends somebody's rights, shows
first what it would do, and where.
"""

import zoneinfo
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from ami_integration.access.danger import Assessment
from ami_integration.access.services import user_may_pause_schedules, user_may_run
from ami_integration.actions.preview import Confirm, confirm_needed, request_worst
from ami_integration.actions.services import RunRefused, headers_complete
from ami_integration.audit.admin import AuditedAdmin
from ami_integration.audit.services import request_address
from ami_integration.schedules import services
from ami_integration.schedules.blackouts import Window, blackout_for, blackouts_load
from ami_integration.schedules.calendar import BadTiming, clock_note
from ami_integration.schedules.forms import moment_seen
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.outcomes import Links
from ami_integration.schedules.pausing import schedules_pause_all, schedules_paused, schedules_resume_all
from ami_integration.schedules.rights import servers_unseen
from ami_integration.schedules.targets import Targets, schedule_servers
from ami_integration.schedules.timing_forms import PREVIEW, TimingForm, moment_text, when_words
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server

#: Seconds for which a confirmation counts.
ASKED_FOR = 3600
_ASKED = "schedules.run_now"
#: The errors that a service answers a person with.
REFUSALS = (RunRefused, BadTiming, SecretUnreadable)


def pause_context(request: HttpRequest) -> dict[str, Any]:
    """For the banner on every page of schedules."""
    return {"pause": schedules_paused(), "may_pause": user_may_pause_schedules(user=request.user)}


class SchedulePages(AuditedAdmin):
    """The pages beside the form and the list."""

    def page_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        one = {
            "run_now": self.run_now_view,
            "take_over": self.take_over_view,
            "pause": require_POST(self.pause_view),
            "resume": require_POST(self.resume_view),
        }
        fleet = {
            "preview": require_POST(self.preview_view),
            "pause_all": self.pause_all_view,
            "resume_all": require_POST(self.resume_all_view),
        }
        return [
            *(
                path(f"{name.replace('_', '-')}/", wrap(view), name=f"ami_integration_schedule_{name}")
                for name, view in fleet.items()
            ),
            *(
                path(
                    f"<int:schedule_id>/{name.replace('_', '-')}/",
                    wrap(view),
                    name=f"ami_integration_schedule_{name}",
                )
                for name, view in one.items()
            ),
        ]

    # -- while somebody types

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """What the fields that say when would do: the next runs, or each field's error."""
        if not self.has_view_or_change_permission(request) and not self.has_add_permission(request):
            raise PermissionDenied
        stored = None
        if (asked := request.POST.get("schedule", "")).isdecimal():
            stored = self.get_queryset(request).filter(pk=asked[:18]).first()
        form_class = type("TimingFormOfUser", (TimingForm,), {"user": request.user})
        form = form_class(request.POST, instance=stored)
        if not form.is_valid():
            errors = {name: [str(error) for error in errors] for name, errors in form.errors.items()}
            return JsonResponse({"errors": errors})
        zone = form.cleaned_data["timezone"]
        timing = form.timing()
        held = _PreviewBlackouts(stored, form.cleaned_data["servers"])
        times = [
            {
                "at": moment.isoformat(),
                "zone": moment_text(moment, zone),
                "utc": moment_text(moment, "UTC"),
                "note": clock_note(timing=timing, moment=moment),
                "blackout": held.note(moment),
            }
            for moment in form.next_times(count=PREVIEW)
        ]
        return JsonResponse({"errors": {}, "words": when_words(timing), "zone": zone, "times": times})

    # -- the buttons of one schedule

    def run_now_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        """Show what would run, and where; then run it."""
        schedule = self._schedule(request, schedule_id)
        if request.method == "POST":
            if self._look(request, schedule).grave and not _typed(request, schedule):
                messages.error(request, f"Nothing was run. Type “{schedule}” to confirm that this is meant.")
                return HttpResponseRedirect(request.path)
            try:
                asked_at, servers = _asked(request, schedule)
                services.schedule_run_now(
                    user=request.user,
                    schedule=schedule,
                    address=request_address(request),
                    as_of=_as_of(request),
                    confirmed_at=asked_at,
                    confirmed=servers,
                )
            except services.RanAlready as already:
                messages.info(request, str(already))
                url = Links(request.user, [already.planned]).run(already.planned)
                return HttpResponseRedirect(url) if url else _to(schedule)
            except REFUSALS as refused:
                messages.error(request, f"Nothing was run. {refused}")
            else:
                messages.success(request, f"“{schedule}” runs now. What becomes of it stands below.")
            return _to(schedule)
        return self._confirm_page(
            request,
            schedule,
            title=f"Run “{schedule}” now",
            button="Run it now",
            lead="Nothing has been sent yet. It runs once, with your rights; what is planned stays as it is.",
            typed=True,
        )

    def take_over_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        """Show what would run with the rights of whoever takes it over; then do so."""
        schedule = self._schedule(request, schedule_id)
        if request.method == "POST":
            try:
                as_of = _as_of(request)
            except RunRefused as refused:
                messages.error(request, str(refused))
                return _to(schedule)
            said = f"“{schedule}” runs with your rights from now on."
            return self._do(request, schedule, services.schedule_take_over, said, as_of=as_of)
        owner = schedule.owner_name or "nobody"
        return self._confirm_page(
            request,
            schedule,
            title=f"Take over “{schedule}”",
            button="Take it over",
            lead=f"It runs with the rights of {owner} now. From then on it runs with yours, and you answer "
            "for what it does.",
        )

    def pause_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        schedule = self._schedule(request, schedule_id)
        said = f"“{schedule}” is paused: nothing starts until somebody resumes it."
        return self._do(request, schedule, services.schedule_pause, said)

    def resume_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        schedule = self._schedule(request, schedule_id)
        return self._do(request, schedule, services.schedule_resume, f"“{schedule}” runs again.")

    def _do(
        self, request: HttpRequest, schedule: Schedule, service: Any, said: str, **more: Any
    ) -> HttpResponse:
        try:
            service(user=request.user, schedule=schedule, address=request_address(request), **more)
        except REFUSALS as refused:
            messages.error(request, str(refused))
        else:
            messages.success(request, said)
        return _to(schedule)

    def _look(self, request: HttpRequest, schedule: Schedule) -> "_Look":
        """What would run with this person's rights, where, and how dangerous it is."""
        error, targets, worst = "", None, None
        try:
            if servers_unseen(user=request.user, schedule=schedule):
                raise RunRefused("It also runs on servers that you don't see.")
            targets = schedule_servers(schedule=schedule, user=request.user)
            pairs = headers_complete(action=schedule.action, headers=schedule.headers_in_clear())
            if targets.servers:
                worst = request_worst(servers=targets.servers, action=schedule.action, headers=pairs)
        except REFUSALS as refused:
            error = str(refused)
        if targets is not None and not targets.servers:
            error = targets.reason or targets.stops
        return _Look(error, targets, worst)

    def _confirm_page(self, request: HttpRequest, schedule: Schedule, **words: Any) -> HttpResponse:
        """What would run, and where, and a button to say yes."""
        look = self._look(request, schedule)
        context = {
            **self.admin_site.each_context(request),
            **pause_context(request),
            "opts": self.opts,
            "schedule": schedule,
            "as_of": schedule.updated_at.isoformat(),
            "asked": signing.dumps(
                [
                    request.user.pk,
                    schedule.pk,
                    timezone.now().isoformat(),
                    [server.pk for server in look.targets.servers] if look.targets is not None else [],
                ],
                salt=_ASKED,
            ),
            "targets": look.targets,
            "error": look.error,
            "worst": look.worst,
            "grave": look.grave,
            "text": schedule.text_for_eyes(("Action", schedule.action)),
            **words,
        }
        return TemplateResponse(request, "ami_integration/schedules/confirm.html", context)

    def _schedule(self, request: HttpRequest, schedule_id: int) -> Schedule:
        """A schedule that this person sees, and whose buttons they may press."""
        schedule = self.get_queryset(request).filter(pk=schedule_id).first()
        if schedule is None:
            raise Http404(f"There is no schedule {schedule_id}, or you may not see it.")
        if not self.has_change_permission(request, schedule) or not user_may_run(user=request.user):
            raise PermissionDenied
        return schedule

    # -- all schedules at once

    def pause_all_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for the reason, then keep every schedule from starting anything."""
        if not user_may_pause_schedules(user=request.user):
            raise PermissionDenied
        reason = request.POST.get("reason", "").strip()
        if request.method == "POST" and reason:
            try:
                schedules_pause_all(user=request.user, reason=reason[:200], address=request_address(request))
            except REFUSALS as refused:
                messages.error(request, str(refused))
            return _to_list()
        context = {
            **self.admin_site.each_context(request),
            **pause_context(request),
            "opts": self.opts,
            "title": "Pause all schedules",
            "error": "Say why, in a few words: whoever looks at a schedule meanwhile will read it."
            if request.method == "POST"
            else "",
        }
        return TemplateResponse(request, "ami_integration/schedules/pause_all.html", context)

    def resume_all_view(self, request: HttpRequest) -> HttpResponse:
        if not user_may_pause_schedules(user=request.user):
            raise PermissionDenied
        try:
            schedules_resume_all(user=request.user, address=request_address(request))
        except REFUSALS as refused:
            messages.error(request, str(refused))
        else:
            messages.success(request, "Schedules run again.")
        return _to_list()


@dataclass(frozen=True)
class _Look:
    """What a person is to confirm.

    Attributes:
        error: why it can't be, a sentence; or "".
        targets: where it would run; None: nobody can say.
        worst: its class, on the server where it is the most dangerous.
    """

    error: str
    targets: Targets | None
    worst: Assessment | None

    @property
    def grave(self) -> bool:
        """Whether a name is to be typed, as for any request of this class on so many servers."""
        if self.worst is None or self.targets is None:
            return False
        needed = confirm_needed(danger=self.worst.danger, servers=len(self.targets.servers))
        return needed == Confirm.TYPE


class _PreviewBlackouts:
    """What blackouts will keep from starting, for the preview."""

    def __init__(self, stored: Schedule | None, servers: list[Server]) -> None:
        self._schedule = stored or Schedule()
        self._servers = servers
        self._rules = blackouts_load()

    def note(self, moment: datetime) -> str:
        """What of it doesn't run at this moment, a sentence; or ""."""
        held = blackout_for(schedule=self._schedule, at=moment, servers=self._servers, rules=self._rules)
        if held.whole is not None:
            return f"Will not run: {_window_words(held.whole)}"
        if not held:
            return ""
        names = ", ".join(server.name for server in self._servers if server.pk in held.servers)
        window = next(iter(held.servers.values()))
        return f"Without {names}: {_window_words(window)}"


def _window_words(window: Window) -> str:
    until = window.ends_at.astimezone(zoneinfo.ZoneInfo(window.blackout.timezone))
    return f"“{window.blackout.name}” until {until:%Y-%m-%d %H:%M}"


def _typed(request: HttpRequest, schedule: Schedule) -> bool:
    """Whether the name of the schedule was typed, whatever its letters' case and its blanks."""
    typed, name = (
        " ".join(text.split()).casefold() for text in (request.POST.get("typed", ""), schedule.name)
    )
    return typed == name


def _as_of(request: HttpRequest) -> datetime | None:
    """When what the person looked at was saved, as the confirmation carries it along; None: it carries none.

    Raises:
        RunRefused: what it carries is no moment.
    """
    text = request.POST.get("as_of", "")
    try:
        return moment_seen(text) if text else None
    except ValidationError as error:
        raise RunRefused(str(error.message)) from None


def _asked(request: HttpRequest, schedule: Schedule) -> tuple[datetime, list[int]]:
    """When this person was asked whether to run this, and on which servers.

    Raises:
        RunRefused: they were not, or too long ago.
    """
    try:
        person, asked, moment, servers = signing.loads(
            request.POST.get("asked", ""), salt=_ASKED, max_age=ASKED_FOR
        )
    except signing.BadSignature:
        person = asked = None
    if (person, asked) != (request.user.pk, schedule.pk):
        raise RunRefused("It was not confirmed just now. Press “Run now” and look at what it would do first.")
    return datetime.fromisoformat(moment), servers


def _to(schedule: Schedule) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:ami_integration_schedule_change", args=(schedule.pk,)))


def _to_list() -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:ami_integration_schedule_changelist"))
