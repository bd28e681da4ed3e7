"""What uvicorn serves: Django over HTTP, Channels over WebSocket.

A WebSocket carries the browser's cookies whatever page opened it, so its Origin is checked before anything
else.
"""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amiweb.settings")
http_application = get_asgi_application()  # loads the apps, so it comes before the import of the consumers

from ami_integration.routing import websocket_urlpatterns  # noqa: E402  needs the apps loaded
from amiweb.bodies import BodyLimit  # noqa: E402
from amiweb.headers import EveryHandshake  # noqa: E402
from amiweb.hearts import Lifespan  # noqa: E402
from amiweb.origins import SameOrigin  # noqa: E402

# Without its manifest every page would be an error.
if settings.AMIWEB_PRODUCTION and not getattr(staticfiles_storage, "hashed_files", None):
    raise ImproperlyConfigured(
        f"amiweb does not start: no static files in {settings.STATIC_ROOT} (AMIWEB_STATIC_ROOT). "
        "Run “manage.py collectstatic” first."
    )

websocket_application = SameOrigin(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
application = EveryHandshake(
    ProtocolTypeRouter(
        {"http": BodyLimit(http_application), "lifespan": Lifespan(), "websocket": websocket_application}
    )
)
