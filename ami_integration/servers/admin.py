"""Admin pages of the servers."""

from django.contrib import admin

from ami_integration.servers.models import Server


@admin.register(Server)
class ServerAdmin(admin.ModelAdmin):
    list_display = ("name", "host", "port", "enabled")
