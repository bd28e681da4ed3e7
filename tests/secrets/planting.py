"""amiweb with a canary in the place of each secret: its environment, its rows, and the PBXs behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from django.apps import apps
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import Settings

from ami_integration.access.danger import Danger
from ami_integration.actions.models import ActionTemplate
from ami_integration.secrets.encryption import EncryptedTextField
from ami_integration.secrets.sources import Source
from ami_integration.servers.models import Server, Tag
from ami_integration.simulator import Account
from tests.access.factories import grant, make_person
from tests.processes import Stack, free_port
from tests.schedules.alerts.factories import make_alert, make_channel, make_webhook
from tests.schedules.alerts.receivers import MailServer, Receiver
from tests.schedules.factories import make_schedule
from tests.secrets.canaries import Cage
from tests.servers.factories import make_server
from tests.simulator.fixtures import Simulator
from tests.sshd import Sshd

Headers = list[tuple[str, str]]

#: Where the secrets of servers lie that store none.
FROM_ENVIRONMENT, FROM_FILE = "AMIWEB_SECRET_HAMBURG", "kiel"


@dataclass
class Planted:
    """What was planted: the people, the servers, and the headers with secrets in them."""

    cage: Cage
    pbx: Simulator
    passwords: dict[str, str] = field(default_factory=dict)
    servers: dict[str, Server] = field(default_factory=dict)
    redis_url: str = ""
    redis_password: str = ""

    def headers(self) -> dict[str, Headers]:
        """Requests with a new canary each, by their action; each hides it in another way."""
        canary = self.cage.canary
        exten: Headers = [("Channel", "Local/100@default"), ("Application", "Wait"), ("Data", "1")]
        return {
            "Originate": [*exten, ("Variable", f"API_SECRET={canary('variable of an Originate')}")],
            "Setvar": [("Variable", "DB_PASSWORD"), ("Value", canary("value of a Setvar"))],
            "DBPut": [("Family", "app"), ("Key", "token"), ("Val", canary("value of a DBPut"))],
            "Command": [("Command", f"database put app password {canary('value in a CLI command')}")],
            "UpdateConfig": [
                ("SrcFilename", "manager.conf"), ("DstFilename", "manager.conf"), ("Action-000000", "Append"),
                ("Cat-000000", "ada"), ("Var-000000", "secret"),
                ("Value-000000", canary("value of an UpdateConfig")),
            ],
            "MailboxPassword": [("Mailbox", "100"), ("NewPassword", canary("password of a mailbox"))],
        }  # fmt: skip


def environment_plant(cage: Cage, stack: Stack, settings: Settings, mail: MailServer, files: Path) -> str:
    """Put a canary into each secret of the environment; returns the password of Valkey.

    The rows that the test itself writes have to be encrypted with the processes' keys.
    """
    ring = {"k1": cage.key("first key of the key ring"), "k0": cage.key("second key of the key ring")}
    settings.AMIWEB_ENCRYPTION_KEYS = ring
    valkey = cage.canary("password of Valkey")
    stack.env |= {
        "AMIWEB_SECRET_KEY": cage.canary("SECRET_KEY", length=60),
        "AMIWEB_ENCRYPTION_KEYS": ",".join(f"{name}:{key}" for name, key in ring.items()),
        "AMIWEB_REDIS_URL": f"unix://:{valkey}@{quote(str(stack.valkey.socket_path))}",
        "AMIWEB_ADMIN_PASSWORD": cage.canary("password of the first administrator"),
        "AMIWEB_SMTP_HOST": mail.host,
        "AMIWEB_SMTP_PORT": str(mail.port),
        "AMIWEB_SMTP_SECURITY": "none",
        "AMIWEB_SMTP_USERNAME": "amiweb",
        "AMIWEB_SMTP_PASSWORD": cage.canary("password of the mail account"),
        "AMIWEB_MAIL_FROM": "amiweb@example.com",
        "AMIWEB_LOG_LEVEL": "DEBUG",
        FROM_ENVIRONMENT: cage.canary("AMI secret in the environment"),
        "AMIWEB_SECRETS_DIR": str(files),
    }
    (files / FROM_FILE).write_text(cage.canary("AMI secret in a file"))
    if connection.vendor == "postgresql":
        head, at, rest = stack.env["AMIWEB_DATABASE_URL"].partition("@")
        stack.env["AMIWEB_DATABASE_URL"] = f"{head}:{cage.canary('password of the database')}{at}{rest}"
    password_set(stack, "", valkey)
    return valkey


def password_set(stack: Stack, old: str, new: str) -> None:
    """Give the embedded Valkey another password."""
    with redis.Redis.from_url(stack.valkey.url, password=old or None) as client:
        client.config_set("requirepass", new)


def password_forget(stack: Stack, password: str) -> None:
    """Let the embedded Valkey be as other tests know it; one that is away comes back without a password."""
    process = stack.valkey.process
    if process is not None and process.alive():
        password_set(stack, password, "")


def rows_plant(
    cage: Cage, stack: Stack, make_simulator: Callable[..., Simulator], sshd: Sshd, receiver: Receiver
) -> Planted:
    """Write a row for every secret that the database knows, and some PBXs where they lead to."""
    first, second = cage.canary("AMI secret"), cage.canary("AMI secret of the second account")
    accounts = [
        Account("amiweb", first),
        Account("actions", second),
        Account("hamburg", stack.env[FROM_ENVIRONMENT]),
        Account("kiel", Path(stack.env["AMIWEB_SECRETS_DIR"], FROM_FILE).read_text()),
    ]
    planted = Planted(cage, make_simulator(accounts=accounts, calls_per_second=1.0))
    for name in ("root", "reader"):
        planted.passwords[name] = cage.canary(f"password of {name}")
    root = User.objects.create_superuser("root", password=None)
    reader = make_person("reader")
    for user in (root, reader):
        user.password = make_password(planted.passwords[user.username], hasher="pbkdf2_sha256")
        user.save()

    tag = Tag.objects.create(name="west")
    both: dict[str, Any] = {"host": "127.0.0.1", "port": planted.pbx.port, "secret": first}
    ssh: dict[str, Any] = {
        "ssh_host": "127.0.0.1",
        "ssh_port": sshd.port,
        "ssh_username": sshd.username,
        "ssh_host_key": sshd.host_keys["ed25519"],
    }
    # The first lines of a private key hold the public one, too.
    for line in sshd.key.strip().splitlines()[4:-2]:
        cage.add("SSH private key", line[:40])
    elsewhere = both | {"secret": None}
    wrong = cage.canary("AMI secret that the PBX refuses")
    planted.servers = {
        "Berlin": make_server(
            name="Berlin", action_username="actions", action_secret=second, event_keeping="all", **both
        ),
        "Cologne": make_server(name="Cologne", ssh_key=sshd.key, **both, **ssh),
        "Dresden": make_server(
            name="Dresden", ssh_password=cage.canary("SSH password"), **both, **ssh
        ),
        "Hamburg": make_server(
            name="Hamburg", **elsewhere, username="hamburg", secret_source=Source.ENVIRONMENT,
            secret_name=FROM_ENVIRONMENT,
        ),
        "Kiel": make_server(
            name="Kiel", **elsewhere, username="kiel", secret_source=Source.FILE, secret_name=FROM_FILE
        ),
        "Essen": make_server(name="Essen", **both | {"secret": wrong}),
        "Fulda": make_server(name="Fulda", host="127.0.0.1", port=free_port(), secret=wrong),
    }  # fmt: skip
    Server.objects.filter(ssh_port=sshd.port).update(transport=Server.Transport.SSH)
    berlin = planted.servers["Berlin"]
    berlin.tags.add(tag)
    grant(reader, Danger.READ, on=berlin)

    headers = planted.headers()
    template = ActionTemplate(name="Set it", action="Setvar", owner=root)
    template.keep_headers(headers["Setvar"], hidden_by=root.pk)
    template.save()
    due = {"owner": root, "headers": headers["Originate"], "action": "Originate"}
    make_schedule(name="Call", server=berlin, **due)
    hook = make_webhook(
        f"{receiver.base}/{cage.canary('URL of a webhook')}",
        secret=cage.canary("signing secret of a webhook"),
    )
    broken = make_webhook(
        f"http://127.0.0.1:{free_port()}/{cage.canary('URL of a dead webhook')}", name="Dead"
    )
    failing = make_schedule(name="Call nobody", server=planted.servers["Fulda"], **due)
    failing.alert_channels.set([hook, broken, make_channel()])
    make_alert(*failing.alert_channels.all(), schedule=failing)
    return planted


def columns_planted() -> dict[str, bool]:
    """Each encrypted column of each model, by its label, and whether any row has something in it."""
    return {
        f"{model.__name__}.{column.name}": model._default_manager.filter(
            **{f"{column.name}__isnull": False}
        ).exists()
        for model in apps.get_models()
        for column in model._meta.concrete_fields
        if isinstance(column, EncryptedTextField)
    }
