"""What the environment says, read once, checked as a whole.

`settings.py` hands `load()` the environment and is the only reader of the environment in the Django project.
This module takes a mapping, so every rule here is a plain function of its input and the tests need no
process.

Two environments:
- **trial** (nothing configured): SQLite, a Valkey that amiweb starts on a private socket, keys generated once
  under the var folder with mode 0600, and loopback only, because none of that is fit to be seen by others.
- **production**: nothing is generated and nothing is guessed. Everything that is missing or weak is named in
  one message, so that an operator mends the file once and not line by line.

`amiweb.variables` lists the variables, for people.
"""

import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from zoneinfo import ZoneInfo

import dj_database_url
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from amiweb.processes import WORKER_THREADS
from amiweb.variables import VARIABLES

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SOCKET_PATH_MAX = 107  # bytes; Linux' sockaddr_un holds 108 with the final NUL
SECRET_KEY_MIN = 50  # characters; what `manage.py check --deploy` asks for

#: The statuses in which a run has ended, as its retention names them.
ENDED = ("succeeded", "failed", "unknown", "cancelled", "expired", "errored")


@dataclass
class Configuration:
    """The environment, understood. Fields are named after the settings they become."""

    production: bool
    var_dir: Path
    secret_key: str
    encryption_keys: dict[str, str]
    database: dict[str, Any]
    redis_url: str
    celery_broker_url: str
    embedded_valkey: bool
    valkey_socket: Path | None
    allowed_hosts: list[str]
    trusted_origins: list[str]
    bind: str
    port: int
    simulator_ports: tuple[int, ...]
    admin_username: str
    admin_password: str | None
    debug: bool
    time_zone: str
    log_level: str
    static_root: Path
    hsts_seconds: int
    idle_sessions: int
    idle_seconds: int
    confirm_servers: int
    stream_keep_seconds: int
    event_retention_days: int
    event_retention_gb: int
    stream_maxlen: int
    stream_mb: int
    result_limit_mib: int
    run_retention_days: dict[str, int]
    result_retention_days: dict[str, int]
    session_idle_minutes: int
    session_hours: int
    login_failures: int
    login_lock_minutes: int
    audit_seals: str
    environment_secrets: dict[str, str] = field(repr=False)
    secrets_dir: str
    public_url: str
    mail: "Mail"


@dataclass
class Mail:
    """How mails leave. `host` is empty if nothing was said about it; then none is sent."""

    host: str
    port: int
    security: str
    username: str
    password: str = field(repr=False)
    sender: str


@dataclass
class _Reader:
    """The environment and the list of what is wrong with it."""

    environ: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    def problem(self, name: str, what: str) -> None:
        self.problems.append(f"{name}: {what}")

    def text(self, name: str, default: str = "") -> str:
        return self.environ.get(name, "").strip() or default

    def secret(self, name: str) -> str:
        """The value of NAME, or the content of the file that NAME_FILE names; "" if neither is set."""
        value, path = self.text(name), self.text(f"{name}_FILE")
        if value and path:
            self.problem(name, f"set it or {name}_FILE, not both")
        if not path:
            return value
        try:
            content = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self.problem(f"{name}_FILE", f"can't read {path}: {_reason(error)}")
            return value
        if not content:
            self.problem(f"{name}_FILE", f"{path} is empty")
        return content

    def items(self, name: str, default: str = "") -> list[str]:
        return [item.strip() for item in self.text(name, default).split(",") if item.strip()]

    def integer(self, name: str, value: str, low: int, high: int) -> int:
        if value.isascii() and value.isdigit() and low <= int(value) <= high:
            return int(value)
        self.problem(name, f"{value!r} is not a whole number from {low} to {high}")
        return low

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value in choices:
            return value
        self.problem(name, f"{value!r} is none of {', '.join(choices)}")
        return default


def load(environ: Mapping[str, str], base_dir: Path) -> Configuration:
    """Read and check every variable.

    Raises `ImproperlyConfigured` with one line per problem. In the trial, creates the var folder and the keys
    that are missing there.
    """
    env = _Reader(environ)
    production = env.choice("AMIWEB_ENV", "trial", ("trial", "production")) == "production"
    var_dir = Path(env.text("AMIWEB_VAR_DIR", str(base_dir / "var"))).expanduser().absolute()
    if not production:
        _make_private_folder(env, "AMIWEB_VAR_DIR", var_dir)
    redis_url, socket = _redis(env, production, var_dir)
    configuration = Configuration(
        production=production,
        var_dir=var_dir,
        secret_key=_secret_key(env, production, var_dir),
        encryption_keys=_encryption_keys(env, production, var_dir),
        database=_database(env, production, var_dir),
        redis_url=redis_url,
        celery_broker_url=celery_url(redis_url),
        embedded_valkey=socket is not None,
        valkey_socket=socket,
        allowed_hosts=_allowed_hosts(env, production),
        trusted_origins=_trusted_origins(env, production),
        bind=_bind(env, production),
        port=env.integer("AMIWEB_PORT", env.text("AMIWEB_PORT", "8765"), 1, 65535),
        simulator_ports=_simulator_ports(env),
        admin_username=env.text("AMIWEB_ADMIN_USERNAME", "admin"),
        admin_password=env.secret("AMIWEB_ADMIN_PASSWORD") or None,
        debug=_debug(env, production),
        time_zone=_time_zone(env),
        log_level=env.choice("AMIWEB_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
        static_root=Path(env.text("AMIWEB_STATIC_ROOT", str(var_dir / "static"))).absolute(),
        hsts_seconds=env.integer(
            "AMIWEB_HSTS_SECONDS", env.text("AMIWEB_HSTS_SECONDS", "31536000"), 1, 10 * 31536000
        ),
        idle_sessions=env.integer(
            "AMIWEB_IDLE_SESSIONS", env.text("AMIWEB_IDLE_SESSIONS", "4"), 0, WORKER_THREADS
        ),
        idle_seconds=env.integer("AMIWEB_IDLE_SECONDS", env.text("AMIWEB_IDLE_SECONDS", "60"), 1, 600),
        confirm_servers=env.integer(
            "AMIWEB_CONFIRM_SERVERS", env.text("AMIWEB_CONFIRM_SERVERS", "5"), 0, 10_000
        ),
        stream_keep_seconds=env.integer(
            "AMIWEB_STREAM_KEEP_SECONDS", env.text("AMIWEB_STREAM_KEEP_SECONDS", "600"), 60, 86_400
        ),
        stream_maxlen=env.integer(
            "AMIWEB_STREAM_MAXLEN", env.text("AMIWEB_STREAM_MAXLEN", "500000"), 1_000, 100_000_000
        ),
        stream_mb=env.integer("AMIWEB_STREAM_MB", env.text("AMIWEB_STREAM_MB", "512"), 1, 1_000_000),
        event_retention_days=env.integer(
            "AMIWEB_EVENT_RETENTION_DAYS", env.text("AMIWEB_EVENT_RETENTION_DAYS", "7"), 1, 3_650
        ),
        event_retention_gb=env.integer(
            "AMIWEB_EVENT_RETENTION_GB", env.text("AMIWEB_EVENT_RETENTION_GB", "20"), 1, 100_000
        ),
        result_limit_mib=env.integer(
            "AMIWEB_RESULT_LIMIT_MIB", env.text("AMIWEB_RESULT_LIMIT_MIB", "16"), 1, 1024
        ),
        run_retention_days=_retention(env, "AMIWEB_RUN_RETENTION_DAYS", 90),
        result_retention_days=_retention(env, "AMIWEB_RESULT_RETENTION_DAYS", 30),
        session_idle_minutes=env.integer(
            "AMIWEB_SESSION_IDLE_MINUTES", env.text("AMIWEB_SESSION_IDLE_MINUTES", "30"), 6, 1440
        ),
        session_hours=env.integer("AMIWEB_SESSION_HOURS", env.text("AMIWEB_SESSION_HOURS", "12"), 1, 168),
        login_failures=env.integer("AMIWEB_LOGIN_FAILURES", env.text("AMIWEB_LOGIN_FAILURES", "5"), 1, 100),
        login_lock_minutes=env.integer(
            "AMIWEB_LOGIN_LOCK_MINUTES", env.text("AMIWEB_LOGIN_LOCK_MINUTES", "15"), 1, 1440
        ),
        audit_seals=_audit_seals(env),
        environment_secrets=_environment_secrets(environ),
        secrets_dir=_secrets_dir(env),
        public_url=_public_url(env, production),
        mail=_mail(env),
    )
    if env.problems:
        count = "one setting needs" if len(env.problems) == 1 else f"{len(env.problems)} settings need"
        raise ImproperlyConfigured(
            "\n".join(
                [
                    f"amiweb does not start: {count} attention (docs/settings.md explains each).",
                    *(f"  - {problem}" for problem in env.problems),
                ]
            )
        )
    return configuration


def _retention(env: _Reader, name: str, default: int) -> dict[str, int]:
    """Days by status: `90`, or `90,unknown=365`; under "" the days of all that are not named."""
    days = {"": default}
    for item in env.items(name):
        status, separator, value = (part.strip() for part in item.rpartition("="))
        if separator and status not in ENDED:
            env.problem(name, f"{status!r} is none of {', '.join(ENDED)}")
        else:
            days[status] = env.integer(name, value, 1, 36500)
    return days


def _secret_key(env: _Reader, production: bool, var_dir: Path) -> str:
    name = "AMIWEB_SECRET_KEY"
    value = env.secret(name)
    if not value:
        if production:
            env.problem(name, "missing")
            return ""
        return _generated(env, name, var_dir / "secret_key", lambda: secrets.token_urlsafe(64))
    if production:
        if len(value) < SECRET_KEY_MIN:
            env.problem(name, f"weak: {len(value)} characters, at least {SECRET_KEY_MIN} are needed")
        elif len(set(value)) < 5:
            env.problem(name, "weak: fewer than 5 different characters")
        elif value.startswith("django-insecure-"):
            env.problem(name, "weak: it is an example key of Django's")
    return value


def _encryption_keys(env: _Reader, production: bool, var_dir: Path) -> dict[str, str]:
    name = "AMIWEB_ENCRYPTION_KEYS"
    value = env.secret(name)
    if not value:
        if production:
            env.problem(name, "missing")
            return {}
        value = _generated(
            env, name, var_dir / "encryption_keys", lambda: "trial:" + Fernet.generate_key().decode()
        )
    ring: dict[str, str] = {}
    # The positions, never the parts themselves, are named: a key without its id would end in a log.
    for number, item in enumerate((part.strip() for part in value.replace("\n", ",").split(",")), start=1):
        if not item:
            continue
        key_id, colon, key = item.partition(":")
        if (
            not colon
            or not key_id.replace("-", "").replace("_", "").replace(".", "").isalnum()
            or not key_id.isascii()
        ):
            env.problem(
                name, f"entry {number} is not of the form id:key (id: letters, digits, '-', '_', '.')"
            )
            continue
        if key_id in ring:
            env.problem(name, f"the id {key_id!r} is there twice")
            continue
        try:
            Fernet(key)
        except ValueError:
            env.problem(name, f"the key {key_id!r} is not a Fernet key (32 bytes in URL-safe base64)")
            continue
        ring[key_id] = key
    if value and not value.replace(",", "").strip():
        env.problem(name, "holds no key; give at least one as id:key")
    return ring


def _database(env: _Reader, production: bool, var_dir: Path) -> dict[str, Any]:
    name = "AMIWEB_DATABASE_URL"
    value = env.secret(name)
    if not value:
        if production:
            env.problem(name, "missing")
            return {}
        return sqlite(var_dir / "amiweb.sqlite3")
    try:
        database: dict[str, Any] = dict(dj_database_url.parse(value))
    except (ValueError, KeyError):  # its messages quote the URL, which may hold a password
        env.problem(name, "not a database URL, such as postgres://user:password@host:5432/name")
        return {}
    if database.get("ENGINE") == "django.db.backends.sqlite3":
        if production:
            env.problem(name, "SQLite serves the trial only; production needs PostgreSQL")
        return sqlite(str(database["NAME"]))
    if database.get("ENGINE") != "django.db.backends.postgresql":
        env.problem(name, "only PostgreSQL (and SQLite in the trial) is supported")
        return database
    # libpq would fill in either from whatever it finds on the machine.
    missing = [
        what
        for what, there in (
            ("host", database["HOST"] or database.get("OPTIONS", {}).get("host")),
            ("database name", database["NAME"]),
        )
        if not there
    ]
    if missing:
        env.problem(
            name,
            f"names no {' and no '.join(missing)}, as in postgres://user:password@host:5432/name "
            "(a socket's folder as host: postgres://user@%2Frun%2Fpostgresql/name)",
        )
    return database


def sqlite(name: Path | str) -> dict[str, Any]:
    """Django's settings for an SQLite file that several processes write to.

    WAL lets readers work beside the one writer. IMMEDIATE takes the write lock when a transaction begins: one
    that began by reading and wants to write later could otherwise only fail. The timeout is how long it waits
    for that.
    """
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(name),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,  # seconds
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }


def _redis(env: _Reader, production: bool, var_dir: Path) -> tuple[str, Path | None]:
    """The URL for redis-py, and the socket of the embedded Valkey if that is what serves."""
    name = "AMIWEB_REDIS_URL"
    value = env.secret(name)
    if not value:
        if production:
            env.problem(name, "missing")
            return "redis://", None
        socket = _valkey_socket(env, var_dir)
        return f"unix://{quote(str(socket))}", socket
    try:
        parts = urlsplit(value)
        right = bool(parts.path if parts.scheme == "unix" else parts.hostname) and (
            parts.port is None or True
        )
    except ValueError:
        right = False
    if not right or parts.scheme not in ("redis", "rediss", "unix"):
        env.problem(
            name, "not of the form redis://host:6379/0, rediss://host:6379/0 or unix:///path/of/socket"
        )
        return "redis://", None
    return value, None


def _valkey_socket(env: _Reader, var_dir: Path) -> Path:
    """A socket in the var folder or, if that path is too long for one, in a private temporary folder."""
    socket = var_dir / "valkey.sock"
    if len(os.fsencode(socket)) <= SOCKET_PATH_MAX:
        return socket
    digest = hashlib.sha256(os.fsencode(var_dir)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"amiweb-{os.getuid()}-{digest}"
    _make_private_folder(env, "AMIWEB_VAR_DIR", folder)
    socket = folder / "valkey.sock"
    if len(os.fsencode(socket)) > SOCKET_PATH_MAX:
        env.problem(
            "AMIWEB_VAR_DIR", f"{var_dir} and {folder} are both too long for a socket; choose a shorter one"
        )
    return socket


def celery_url(redis_url: str) -> str:
    """The same place in Celery's words: a socket is redis+socket there, a database virtual_host."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"redis+socket://{credentials}{quote(unquote(parts.path))}?virtual_host={database}"


def _allowed_hosts(env: _Reader, production: bool) -> list[str]:
    name = "AMIWEB_ALLOWED_HOSTS"
    hosts = env.items(name)
    if production and not hosts:
        env.problem(name, "missing")
    if "*" in hosts:
        env.problem(name, "weak: '*' lets every name in; list the names under which browsers reach amiweb")
    for host in hosts:
        if "://" in host or "/" in host:
            env.problem(name, f"{host!r} is an address; give the name alone")
    return hosts if production else ["localhost", "127.0.0.1", "[::1]", *hosts]


def _trusted_origins(env: _Reader, production: bool) -> list[str]:
    name = "AMIWEB_TRUSTED_ORIGINS"
    origins = env.items(name)
    for origin in origins:
        if "*" in origin:
            env.problem(name, f"weak: {origin!r} has a wildcard; list the origins")
        elif not origin.startswith(("https://", "http://")):
            env.problem(name, f"{origin!r} has no scheme, as in https://pbx.example.com")
        elif production and origin.startswith("http://"):
            env.problem(name, f"weak: {origin!r} is not https")
    return origins


def _audit_seals(env: _Reader) -> str:
    """Where the seals of the audit are told: "log", the path of a file, or "": in the database alone."""
    name = "AMIWEB_AUDIT_SEALS"
    value = env.text(name)
    if value in ("", "log"):
        return value
    if not Path(value).is_absolute():
        env.problem(name, f"{value!r} is neither log nor the whole path of a file, beginning with /")
    elif not Path(value).parent.is_dir():
        env.problem(name, f"there is no folder {Path(value).parent}; make one in which the workers may write")
    return value


def _environment_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that secrets of servers may come from (`ami_integration.secrets.sources`)."""
    ours = {name for variable in VARIABLES for name in (variable.name, f"{variable.name}_FILE")}
    return {
        name: value
        for name, value in environ.items()
        if name.startswith("AMIWEB_SECRET_") and name not in ours
    }


def _secrets_dir(env: _Reader) -> str:
    """The folder with files that hold secrets of servers; "": there is none."""
    name = "AMIWEB_SECRETS_DIR"
    value = env.text(name)
    if value and not Path(value).is_absolute():
        env.problem(name, f"{value!r} is not the whole path of a folder, beginning with /")
    elif value and not Path(value).is_dir():
        env.problem(name, f"there is no folder {value}; make it, readable by the user that amiweb runs as")
    return value


def _public_url(env: _Reader, production: bool) -> str:
    """Where links in messages lead, without a slash at the end; "": nobody said so."""
    name = "AMIWEB_PUBLIC_URL"
    value = env.text(name)
    if not value:
        # In production the own address is the proxy's business.
        return "" if production else f"http://127.0.0.1:{env.text('AMIWEB_PORT', '8765')}"
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        env.problem(name, f"{value!r} is not an address, such as https://amiweb.example.com")
    elif parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        env.problem(name, "give scheme, name and port alone, as in https://amiweb.example.com")
    elif production and parts.scheme != "https":
        env.problem(name, f"weak: {value!r} is not https")
    return value.rstrip("/")


_SMTP_PORTS = {"starttls": "587", "tls": "465", "none": "25"}


def _mail(env: _Reader) -> Mail:
    host = env.text("AMIWEB_SMTP_HOST")
    security = env.choice("AMIWEB_SMTP_SECURITY", "starttls", tuple(_SMTP_PORTS))
    username, password = env.text("AMIWEB_SMTP_USERNAME"), env.secret("AMIWEB_SMTP_PASSWORD")
    sender = env.text("AMIWEB_MAIL_FROM")
    port = env.integer("AMIWEB_SMTP_PORT", env.text("AMIWEB_SMTP_PORT", _SMTP_PORTS[security]), 1, 65535)
    if "://" in host or "/" in host or "@" in host:
        env.problem("AMIWEB_SMTP_HOST", f"{host!r} is no name of a mail server; give the name alone")
    if host and not sender:
        env.problem("AMIWEB_MAIL_FROM", "missing; mails need a sender since AMIWEB_SMTP_HOST is set")
    if sender and not re.fullmatch(r"[^@\s]+@[^@\s]+", parseaddr(sender)[1]):
        env.problem("AMIWEB_MAIL_FROM", f"{sender!r} is not a mail address, such as amiweb@example.com")
    if username and not password:
        env.problem("AMIWEB_SMTP_PASSWORD", "missing; AMIWEB_SMTP_USERNAME is set")
    if password and not username:
        env.problem("AMIWEB_SMTP_USERNAME", "missing; AMIWEB_SMTP_PASSWORD is set")
    if password and security == "none" and host not in LOOPBACK:
        env.problem(
            "AMIWEB_SMTP_SECURITY", "weak: 'none' would send the password in clear; use starttls or tls"
        )
    return Mail(host, port, security, username, password, sender)


def _bind(env: _Reader, production: bool) -> str:
    bind = env.text("AMIWEB_BIND", "127.0.0.1")
    if not production and bind not in LOOPBACK:
        env.problem(
            "AMIWEB_BIND",
            f"the trial listens on loopback only, not on {bind}. Reach it through an SSH tunnel, "
            "or set AMIWEB_ENV=production",
        )
    return bind


def _simulator_ports(env: _Reader) -> tuple[int, ...]:
    name = "AMIWEB_SIMULATOR_PORTS"
    ports = tuple(env.integer(name, port, 1024, 65535) for port in env.items(name, "15038,15039"))
    if 5038 in ports:
        env.problem(name, "5038 is the port of a real PBX")
    if len(set(ports)) != len(ports):
        env.problem(name, "a port is there twice")
    return ports


def _debug(env: _Reader, production: bool) -> bool:
    debug = env.choice("AMIWEB_DEBUG", "0", ("0", "1")) == "1"
    if production and debug:
        env.problem("AMIWEB_DEBUG", "weak: debug pages show the inside of amiweb to strangers")
    return debug


def _time_zone(env: _Reader) -> str:
    value = env.text("AMIWEB_TIME_ZONE", "UTC")
    try:
        ZoneInfo(value)
    except (OSError, ValueError, LookupError):
        env.problem("AMIWEB_TIME_ZONE", f"{value!r} is not a time zone, such as Europe/Berlin")
        return "UTC"
    return value


def _make_private_folder(env: _Reader, name: str, folder: Path) -> None:
    """Create `folder` for this user alone, and refuse one that belongs to somebody else."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        env.problem(name, f"can't create the folder {folder}: {_reason(error)}")
        return
    if status.st_uid != os.getuid():
        env.problem(name, f"{folder} belongs to another user")
    elif not os.access(folder, os.W_OK | os.X_OK):
        env.problem(name, f"can't write to the folder {folder}")
    elif stat.S_IMODE(status.st_mode) & 0o022:
        env.problem(name, f"others may write to the folder {folder}; take that away with chmod go-w")


def _generated(env: _Reader, name: str, path: Path, make: Callable[[], str]) -> str:
    """The content of `path`, created with `make()` by whichever process comes first.

    All processes of the trial start at once. The file is written whole under a name of its own and then
    linked to its final name, which succeeds for exactly one of them; all read what that one wrote.
    """
    try:
        if not path.exists():
            draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(make() + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(draft, path)
                except FileExistsError:
                    pass  # another process was first; its key is everybody's
            finally:
                draft.unlink()
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            env.problem(name, f"others may read {path}; take that away with chmod 600")
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        env.problem(name, f"can't create or read {path}: {_reason(error)}")
        return ""


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
