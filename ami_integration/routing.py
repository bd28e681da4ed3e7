"""Every WebSocket address of every room, collected for Channels."""

from django.urls import URLPattern, path

from ami_integration.actions.consumers import RunConsumer, RunningConsumer
from ami_integration.actions.fanout_consumers import FanOutConsumer
from ami_integration.events.consumers import LiveConsumer
from ami_integration.servers.consumers import DoctorConsumer

websocket_urlpatterns: list[URLPattern] = [
    path("ws/live/", LiveConsumer.as_asgi()),
    path("ws/fanouts/<int:fanout_id>/", FanOutConsumer.as_asgi()),
    path("ws/doctor/", DoctorConsumer.as_asgi()),
    path("ws/doctor/<int:server_id>/", DoctorConsumer.as_asgi()),
    path("ws/runs/", RunningConsumer.as_asgi()),
    path("ws/runs/<int:run_id>/", RunConsumer.as_asgi()),
]
