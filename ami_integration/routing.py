"""Every WebSocket address of every room, collected for Channels."""

from django.urls import URLPattern, path

from ami_integration.actions.consumers import RunConsumer
from ami_integration.events.consumers import LiveConsumer

websocket_urlpatterns: list[URLPattern] = [
    path("ws/live/", LiveConsumer.as_asgi()),
    path("ws/runs/<int:run_id>/", RunConsumer.as_asgi()),
]
