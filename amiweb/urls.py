"""Addresses of the whole site. The admin is the house; amiweb's own pages live inside it."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

admin.site.site_header = admin.site.site_title = admin.site.index_title = "amiweb"
admin.site.site_url = None  # the admin is the site
admin.site.enable_nav_sidebar = False  # the header leads to the rooms; lists and live pages need the width

handler400 = "ami_integration.access.refused.bad_request"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("", include("ami_integration.urls")),  # before the admin, which answers for everything below /admin/
    path("admin/", admin.site.urls),
]
