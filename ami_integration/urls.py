"""Every page of every room that is not a page of a model in the admin."""

from django.contrib import admin
from django.urls import URLPattern, path

from ami_integration.access.views import session_left, session_stay
from ami_integration.console.views import status, status_data, status_forget, status_glance
from ami_integration.events.views import live
from ami_integration.schedules import views as schedules

urlpatterns: list[URLPattern] = [
    path("admin/live/", admin.site.admin_view(live), name="live"),
    path("admin/schedules/calendar/", admin.site.admin_view(schedules.calendar), name="schedule_calendar"),
    path(
        "admin/schedules/calendar/hour/",
        admin.site.admin_view(schedules.calendar_hour),
        name="schedule_hour",
    ),
    path(
        "admin/schedules/<int:schedule_id>/runs/", admin.site.admin_view(schedules.runs), name="schedule_runs"
    ),
    path("admin/session/", admin.site.admin_view(session_left), name="session_left"),
    path("admin/session/stay/", admin.site.admin_view(session_stay), name="session_stay"),
    path("admin/status/", admin.site.admin_view(status), name="status"),
    path("admin/status/data/", admin.site.admin_view(status_data), name="status_data"),
    path("admin/status/forget/", admin.site.admin_view(status_forget), name="status_forget"),
    path("admin/status/glance/", admin.site.admin_view(status_glance), name="status_glance"),
]
