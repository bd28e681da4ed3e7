"""Addresses of the whole site. The admin is the house; amiweb's own pages live inside it."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("", include("ami_integration.urls")),  # before the admin, which answers for everything below /admin/
    path("admin/", admin.site.urls),
]
