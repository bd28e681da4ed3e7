"""Every WebSocket address of every room, collected for Channels."""

from django.urls import URLPattern

websocket_urlpatterns: list[URLPattern] = []
