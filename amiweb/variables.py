"""The variables of the environment, as people read about them: the table of docs/settings.md.

The rules that hold for them are in `amiweb.configuration`. Tests compare both: nothing is read that isn't
documented here, and the page holds this table word by word.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """One variable of the environment. A `secret` one may be given as NAME_FILE too, the path of a file."""

    name: str
    trial: str
    production: str
    meaning: str
    secret: bool = False


VARIABLES = (
    Variable("AMIWEB_ENV", "`trial`", "`production`", "`trial` or `production`."),
    Variable(
        "AMIWEB_VAR_DIR",
        "`var` beside `manage.py`",
        "the same",
        "Folder for all that amiweb writes: generated keys, the SQLite file, the embedded Valkey's data.",
    ),
    Variable(
        "AMIWEB_SECRET_KEY",
        "generated in `var/secret_key`",
        "required; at least 50 characters, 5 of them different, no `django-insecure-`",
        "Signs sessions and forms. `python -c 'import secrets; print(secrets.token_urlsafe(64))'` makes one.",
        secret=True,
    ),
    Variable(
        "AMIWEB_ENCRYPTION_KEYS",
        "generated in `var/encryption_keys`",
        "required; every key a Fernet key, every id different",
        "Keys that encrypt AMI secrets: `id:key,id:key`. The first encrypts, all decrypt. Keep a copy apart "
        "from the database's backup: without them the stored secrets are lost. `python -c 'from "
        'cryptography.fernet import Fernet; print("k1:" + Fernet.generate_key().decode())\'` makes one.',
        secret=True,
    ),
    Variable(
        "AMIWEB_DATABASE_URL",
        "SQLite in `var/amiweb.sqlite3`",
        "required; PostgreSQL",
        "`postgres://user:password@host:5432/name`.",
        secret=True,
    ),
    Variable(
        "AMIWEB_REDIS_URL",
        "the embedded Valkey's private socket",
        "required",
        "Valkey or Redis for the task queue, the event stream and the channel layer: `redis://…`, "
        "`rediss://…` or `unix:///path`.",
        secret=True,
    ),
    Variable(
        "AMIWEB_ALLOWED_HOSTS",
        "`localhost,127.0.0.1,[::1]`",
        "required; no `*`",
        "Names under which browsers reach amiweb, separated by commas.",
    ),
    Variable(
        "AMIWEB_TRUSTED_ORIGINS",
        "none",
        "optional; `https://` only, no `*`",
        "Further origins whose pages may post forms and open WebSockets, such as "
        "`https://pbx.example.com:8443`, separated by commas.",
    ),
    Variable(
        "AMIWEB_BIND",
        "`127.0.0.1`; loopback only",
        "`127.0.0.1`",
        "Address that the web process listens on. In production a reverse proxy with TLS stands before it, "
        "sets `X-Forwarded-Proto` itself, and nobody else can reach this address.",
    ),
    Variable("AMIWEB_PORT", "`8765`", "`8765`", "Port that the web process listens on."),
    Variable(
        "AMIWEB_SIMULATOR_PORTS",
        "`15038,15039`",
        "not used",
        "Ports of the trial's simulated PBXs, separated by commas. Never 5038, which is a real one's.",
    ),
    Variable(
        "AMIWEB_ADMIN_USERNAME",
        "`admin`",
        "not used; `manage.py createsuperuser` asks for it",
        "Name of the trial's first administrator.",
    ),
    Variable(
        "AMIWEB_ADMIN_PASSWORD",
        "generated and printed once",
        "not used; `manage.py createsuperuser` asks for it",
        "Password of the trial's first administrator. It is used once, when there is none.",
        secret=True,
    ),
    Variable(
        "AMIWEB_DEBUG",
        "`0`",
        "`0`; refused",
        "`1` shows Django's debug pages. For developers, in the trial only.",
    ),
    Variable(
        "AMIWEB_TIME_ZONE",
        "`UTC`",
        "`UTC`",
        "Time zone of the pages, such as `Europe/Berlin`. Stored times are UTC.",
    ),
    Variable("AMIWEB_LOG_LEVEL", "`INFO`", "`INFO`", "`DEBUG`, `INFO`, `WARNING` or `ERROR`."),
    Variable(
        "AMIWEB_STATIC_ROOT",
        "not used",
        "`static` in the var folder",
        "Folder that `manage.py collectstatic` fills and the web process serves.",
    ),
    Variable(
        "AMIWEB_HSTS_SECONDS",
        "not used",
        "`31536000`",
        "How long browsers shall insist on HTTPS. A smaller number while you try TLS out; never 0.",
    ),
    Variable(
        "AMIWEB_IDLE_SESSIONS",
        "`4`",
        "`4`",
        "Logged-in sessions per server that a worker process keeps for the next action, 0 to 32. `0`: each "
        "action logs in for itself.",
    ),
    Variable(
        "AMIWEB_IDLE_SECONDS",
        "`60`",
        "`60`",
        "Seconds that it keeps one which nobody uses, 1 to 600. One of a server that is disabled, deleted or "
        "put into maintenance is closed within seconds, whatever this says.",
    ),
    Variable(
        "AMIWEB_CONFIRM_SERVERS",
        "`5`",
        "`5`",
        "On more servers than this, a request that does more than read is confirmed by typing for what it is "
        "meant: the tag, or how many servers. `0`: even on one, by its name.",
    ),
    Variable(
        "AMIWEB_STREAM_KEEP_SECONDS",
        "`600`",
        "`600`",
        "Seconds that the event stream in Valkey holds an event after it was recorded, 60 to 86400. For so "
        "long a live page that was away finds again what its server doesn't keep.",
    ),
    Variable(
        "AMIWEB_RUN_RETENTION_DAYS",
        "`90`",
        "`90`",
        "Days that the action log keeps a run. Some statuses may have their own: `90,unknown=365,"
        "succeeded=30` (succeeded, failed, unknown, cancelled, expired, errored).",
    ),
    Variable(
        "AMIWEB_RESULT_RETENTION_DAYS",
        "`30`",
        "`30`",
        "Days that it keeps what came back for a run, in the same form. The run itself stays.",
    ),
    Variable(
        "AMIWEB_STREAM_MAXLEN",
        "`500000`",
        "`500000`",
        "Entries that the event stream in Valkey keeps at most, 1000 or more; one holds up to 500 events of "
        "one server. What doesn't fit while the database is away is counted and shown as a gap.",
    ),
    Variable(
        "AMIWEB_STREAM_MB",
        "`512`",
        "`512`",
        "Memory in MiB that they may take at most. Valkey itself needs some more.",
    ),
    Variable(
        "AMIWEB_EVENT_RETENTION_DAYS",
        "`7`",
        "`7`",
        "Days that stored events are kept, if they don't leave earlier by their size. The page *Size and "
        "retention* of the events shows what they take today.",
    ),
    Variable(
        "AMIWEB_EVENT_RETENTION_GB",
        "`20`",
        "`20`",
        "Gigabytes that they may take with their indexes; beyond that the oldest leave, whatever their age. "
        "On SQLite it is the size of the whole database.",
    ),
    Variable(
        "AMIWEB_RESULT_LIMIT_MIB",
        "`16`",
        "`16`",
        "Size in MiB up to which a result is kept whole; of a larger one, the beginning, with a note.",
    ),
    Variable(
        "AMIWEB_SESSION_IDLE_MINUTES",
        "`30`",
        "`30`",
        "Minutes without activity after which somebody has to log in again, 6 to 1440. Pages that only watch "
        "are no activity, and go on until the next limit (docs/doors.md).",
    ),
    Variable(
        "AMIWEB_SESSION_HOURS",
        "`12`",
        "`12`",
        "Hours after the login at which it ends, whatever one does, 1 to 168; open pages say so five minutes "
        "before. Holds for logins from then on.",
    ),
    Variable(
        "AMIWEB_LOGIN_FAILURES",
        "`5`",
        "`5`",
        "Failed logins by one name from one address after which both together have to wait, 1 to 100.",
    ),
    Variable(
        "AMIWEB_LOGIN_LOCK_MINUTES",
        "`15`",
        "`15`",
        "Minutes that they wait, 1 to 1440. `manage.py axes_reset_username NAME` lets them try at once.",
    ),
    Variable(
        "AMIWEB_AUDIT_SEALS",
        "nowhere",
        "optional",
        "Where each seal of the audit is told outside the database (docs/audit.md), so that a cut-off end "
        "shows: the path of a file that workers append to, or `log`.",
    ),
    Variable(
        "AMIWEB_SECRETS_DIR",
        "none",
        "optional",
        "Folder of files that hold secrets of servers (docs/secrets.md), for servers whose secrets are not "
        "stored. Every process that talks to PBXs needs it.",
    ),
    Variable(
        "AMIWEB_PUBLIC_URL",
        "the web process's own address",
        "optional; `https://` only",
        "Where people reach amiweb, such as `https://amiweb.example.com`: for the links in alerts, which "
        "have none without it.",
    ),
    Variable(
        "AMIWEB_SMTP_HOST",
        "none",
        "optional",
        "Mail server that takes amiweb's mails, which are alerts of schedules (docs/alerts.md). Without it "
        "no mail is sent.",
    ),
    Variable(
        "AMIWEB_SMTP_PORT",
        "by the next",
        "the same",
        "Its port: 587 with `starttls`, 465 with `tls`, 25 with `none` if not given.",
    ),
    Variable(
        "AMIWEB_SMTP_SECURITY",
        "`starttls`",
        "`starttls`",
        "`starttls`, `tls` (from the first byte) or `none`. With `none` a password is refused unless the "
        "mail server is on this machine.",
    ),
    Variable("AMIWEB_SMTP_USERNAME", "none", "optional", "Account at the mail server, if it wants a login."),
    Variable("AMIWEB_SMTP_PASSWORD", "none", "with the username", "Password of that account.", secret=True),
    Variable(
        "AMIWEB_MAIL_FROM",
        "none",
        "required with `AMIWEB_SMTP_HOST`",
        "Sender of amiweb's mails: `amiweb@example.com` or `amiweb <amiweb@example.com>`.",
    ),
)


def documentation() -> str:
    """The table of docs/settings.md."""
    rows = ["| Variable | Trial | Production | Meaning |", "|---|---|---|---|"]
    for variable in VARIABLES:
        name = f"`{variable.name}`" + (f" or `{variable.name}_FILE`" if variable.secret else "")
        rows.append(f"| {name} | {variable.trial} | {variable.production} | {variable.meaning} |")
    return "\n".join(rows)
