"""Django's settings. The only place in the Django project that reads the environment.

What the environment may say, and what is refused, is in `configuration.py`; here it becomes settings.
"""

import logging
import os
from datetime import timedelta
from pathlib import Path

from csp.constants import NONE, SELF

from amiweb.configuration import load
from amiweb.processes import TICK_QUEUE, WORKER_THREADS

BASE_DIR = Path(__file__).resolve().parent.parent
_config = load(os.environ, BASE_DIR)

# amiweb's own settings
AMIWEB_PRODUCTION = _config.production
AMIWEB_VAR_DIR = _config.var_dir
AMIWEB_REDIS_URL = _config.redis_url
AMIWEB_EMBEDDED_VALKEY = _config.embedded_valkey
AMIWEB_VALKEY_SOCKET = _config.valkey_socket
AMIWEB_ENCRYPTION_KEYS = _config.encryption_keys
AMIWEB_BIND = _config.bind
AMIWEB_PORT = _config.port
AMIWEB_SIMULATOR_PORTS = _config.simulator_ports
AMIWEB_ADMIN_USERNAME = _config.admin_username
AMIWEB_ADMIN_PASSWORD = _config.admin_password
AMIWEB_ACTION_TIMEOUT = 30  # seconds for one action's whole reply
AMIWEB_WORKER_THREADS = WORKER_THREADS
AMIWEB_IDLE_SESSIONS = _config.idle_sessions
AMIWEB_IDLE_SECONDS = _config.idle_seconds
AMIWEB_RUN_EXPIRY = 300  # seconds that a run may wait for a worker
AMIWEB_CONFIRM_SERVERS = _config.confirm_servers
AMIWEB_HEARTBEAT_INTERVAL = 5  # seconds between signs of life of a run in progress
AMIWEB_HEARTBEAT_LOST = 20  # seconds without one until its worker counts as dead
AMIWEB_STREAM_MAXLEN = _config.stream_maxlen  # entries that the event stream keeps
AMIWEB_STREAM_BYTES = _config.stream_mb * 1024 * 1024  # and their size
AMIWEB_STREAM_KEEP_SECONDS = _config.stream_keep_seconds
AMIWEB_EVENT_RETENTION_DAYS = _config.event_retention_days
AMIWEB_EVENT_RETENTION_GB = _config.event_retention_gb  # 2^30 bytes
AMIWEB_RESULT_LIMIT = _config.result_limit_mib * 1024 * 1024  # bytes of one result before compression
AMIWEB_RUN_RETENTION_DAYS = _config.run_retention_days  # days by a run's status, and "" for the others
AMIWEB_RESULT_RETENTION_DAYS = _config.result_retention_days  # the same for what came back
AMIWEB_SESSION_IDLE = _config.session_idle_minutes * 60  # seconds
AMIWEB_SESSION_LIMIT = _config.session_hours * 3600  # seconds
AMIWEB_ENVIRONMENT_SECRETS = _config.environment_secrets  # by the variables' names
AMIWEB_SECRETS_DIR = _config.secrets_dir  # "": no secret comes from a file
AMIWEB_AUDIT_SEALS = _config.audit_seals  # "log", the path of a file, or "": nowhere
AMIWEB_PUBLIC_URL = _config.public_url  # where links in messages lead; "": nobody said so
AMIWEB_SMTP_HOST = _config.mail.host  # "": no mail is sent, where Django's own setting would mean localhost
AMIWEB_MAIL_FROM = _config.mail.sender

# Django
DEBUG = _config.debug
SECRET_KEY = _config.secret_key
ALLOWED_HOSTS = _config.allowed_hosts
CSRF_TRUSTED_ORIGINS = _config.trusted_origins
ROOT_URLCONF = "amiweb.urls"
ASGI_APPLICATION = "amiweb.asgi.application"
INSTALLED_APPS = [
    "ami_integration",  # before the admin, whose base_site.html it replaces
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "axes",
]
MIDDLEWARE = [
    "amiweb.headers.EveryAnswer",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "amiweb.static.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "ami_integration.access.middleware.RefuseNul",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "ami_integration.access.middleware.IdleLimit",
    "ami_integration.audit.middleware.RefusalsNoted",
    "axes.middleware.AxesMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "ami_integration.console.views.header",
            ]
        },
    }
]
DATABASES = {"default": _config.database}
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
] + [{"NAME": "ami_integration.audit.passwords.PasswordChangesNoted"}]
LANGUAGE_CODE = "en-us"
TIME_ZONE = _config.time_zone
USE_I18N = False  # the pages are English; Django's own would otherwise follow the browser into a mixture
USE_TZ = True
DATE_FORMAT, TIME_FORMAT, DATETIME_FORMAT = "Y-m-d", "H:i:s", "Y-m-d H:i:s"  # as PBX logs write them

# Failed logins: so many by one name from one address, and both together have to wait
AXES_FAILURE_LIMIT = _config.login_failures
AXES_COOLOFF_TIME = timedelta(minutes=_config.login_lock_minutes)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "ami_integration.access.lockout.locked_out"
AXES_CLIENT_IP_CALLABLE = "ami_integration.audit.services.request_address"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # or a stranger keeps somebody out for ever
AXES_DISABLE_ACCESS_LOG = True  # the audit has logins
AXES_ENABLE_ADMIN = False  # "manage.py axes_reset_username" lets somebody in again
AXES_SENSITIVE_PARAMETERS = ["csrfmiddlewaretoken"]  # and the password; the log names who was locked out
AXES_VERBOSE = False

# Mail
EMAIL_HOST = _config.mail.host or "localhost"
EMAIL_PORT = _config.mail.port
EMAIL_HOST_USER = _config.mail.username
EMAIL_HOST_PASSWORD = _config.mail.password
EMAIL_USE_TLS = _config.mail.security == "starttls"
EMAIL_USE_SSL = _config.mail.security == "tls"
EMAIL_TIMEOUT = 10  # seconds for each word with the mail server
DEFAULT_FROM_EMAIL = SERVER_EMAIL = _config.mail.sender or "amiweb@localhost"

# Static files: in production those that collectstatic gathered, under names that carry their content's hash.
# The trial serves them from where they lie, so that nothing has to be collected first.
STATIC_URL = "/static/"
STATIC_ROOT = _config.static_root if _config.production else None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "amiweb.static.HashedStaticFilesStorage"
        if _config.production
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not _config.production
WHITENOISE_AUTOREFRESH = _config.debug
WHITENOISE_MAX_AGE = 60 if _config.production else 0
WHITENOISE_ALLOW_ALL_ORIGINS = False

# One line to the next page lies with the session, not in a cookie that names servers in clear.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# The debug page tells names and types, but no values.
DEFAULT_EXCEPTION_REPORTER_FILTER = "amiweb.reports.NamesOnly"

# Browser security
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],  # the admin's style sheets draw some icons as data:
        "font-src": [SELF],
        "connect-src": [SELF],  # the page's own host, wss: included
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
# Uploads are lists of servers, with secrets perhaps: they stay in memory, and what is larger isn't taken.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
SESSION_COOKIE_AGE = AMIWEB_SESSION_LIMIT  # of those without a login; the others end as access.logins says
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True  # scripts take the token from the page's form
CSRF_COOKIE_SAMESITE = "Lax"
if _config.production:
    # The proxy ends TLS and says so in this header (docs/settings.md, AMIWEB_BIND).
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = _config.hsts_seconds
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SESSION_COOKIE_NAME = "__Host-amiweb-session"
    CSRF_COOKIE_NAME = "__Host-amiweb-csrf"
    # HSTS is for amiweb's own name. Its subdomains and the preload list are not amiweb's to decide on.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
else:
    # Cookies know no ports: two trials on one machine would log each other out.
    SESSION_COOKIE_NAME = f"amiweb-session-{_config.port}"
    CSRF_COOKIE_NAME = f"amiweb-csrf-{_config.port}"

# Channels and Celery, over the same Valkey
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": _config.redis_url}], "prefix": "amiweb"},
    }
}
CELERY_BROKER_URL = _config.celery_broker_url
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE = "amiweb"
CELERY_TASK_ROUTES = {"schedules.tick": {"queue": TICK_QUEUE}}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE_FILENAME = str(_config.var_dir / "beat-schedule")
CELERY_TIMEZONE = "UTC"

# Logging: one line per record on stderr, for whatever collects it there.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "amiweb.logs.LineFormatter"}},
    "filters": {
        "outage of pushes": {"()": "ami_integration.access.pushes.OutageOfPushes"},
        "ticks": {"()": "amiweb.logs.TickFilter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["ticks"]}},
    "root": {"handlers": ["stderr"], "level": _config.log_level},
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "channels_redis.pubsub": {"filters": ["outage of pushes"]},
        # Seals are told by the log where that was asked for, and nobody should miss one.
        "ami_integration.audit.sealed": {"level": "INFO"},
        # They log each request with its whole URL, and that of a webhook is a secret.
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        # uvicorn has set these up before it loads the application; they follow the same form from here on.
        "uvicorn": {"handlers": [], "propagate": True},
        # At DEBUG they write each WebSocket message down, and the form of a server sends secrets by one.
        "uvicorn.error": {"level": max(logging.getLogger("uvicorn.error").level, logging.INFO)},
        "websockets": {"level": "INFO"},
        # This one has no handler if uvicorn was told --no-access-log; then it stays silent.
        "uvicorn.access": {"handlers": [], "propagate": logging.getLogger("uvicorn.access").hasHandlers()},
    },
}
