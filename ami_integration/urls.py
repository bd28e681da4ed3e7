"""Every page of every room that is not a page of a model in the admin."""

from django.contrib import admin
from django.urls import URLPattern, path

from ami_integration.events.views import live

urlpatterns: list[URLPattern] = [
    path("admin/live/", admin.site.admin_view(live), name="live"),
]
