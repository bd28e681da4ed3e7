"""One Asterisk with an AMI account, and what is known of its health.

Health is a row of its own: the listener writes it every few seconds, an administrator writes the server, and
neither may overwrite the other.
"""

import re
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone

from ami_integration.ami import SSH, TCP, TLS
from ami_integration.secrets.encryption import EncryptedTextField, Secret
from ami_integration.secrets.sources import NAME_LENGTH, ReadableSecret, Source, secret_elsewhere
from ami_integration.servers.address import Address, no_line_break, with_secrets
from ami_integration.zones import validate_zone

VERSION_LENGTH = 100  # characters; Debian's versions of Asterisk have 31
EVENT_NAME_LINES = 200
EVENT_NAME_STARS = 10  # in one line

#: A listener notes the state of each server at least every 40 s: it asks a silent one after 30 s, and repeats
#: what it said of one that it can't reach. Thrice that without a word, and nobody knows: no listener runs.
STALE_AFTER = timedelta(seconds=120)


def server_label(name: str, *, simulated: bool) -> str:
    """What lists and choices call a server: nobody shall take a simulated one for a real PBX."""
    return f"{name} (simulated)" if simulated else name


class Tag(models.Model):
    """A word that servers share: what people choose several by, and what access rules name."""

    name = models.CharField(
        max_length=50,
        unique=True,
        validators=[
            RegexValidator(
                r"\A[a-z0-9]+(?:[-_.][a-z0-9]+)*\Z",
                "Use small letters and digits, with - _ or . between them, as in office-berlin.",
            )
        ],
        help_text="Small letters and digits, with - _ or . between them, as in office-berlin.",
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Site(models.Model):
    """A place where PBXs stand. It says where, not who may: access rules name tags and servers."""

    name = models.CharField(max_length=100, unique=True, help_text="Of a place, as in Berlin, Tower Street.")
    timezone = models.CharField(
        "time zone",
        max_length=64,
        default="UTC",
        validators=[validate_zone],
        help_text="For example Europe/Berlin. Servers that get this site and no zone of their own begin with "
        "it. Those that have it already keep theirs: “Edit several” in their list changes many at once.",
    )
    notes = models.TextField(blank=True, help_text="Who to call there, how to get in.")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


def validate_event_names(text: str) -> None:
    """Refuse lines that can't be event names or patterns."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > EVENT_NAME_LINES:
        raise ValidationError(
            f"Give at most {EVENT_NAME_LINES} lines; * makes one line stand for many names."
        )
    for line in lines:
        if not re.fullmatch(r"!?\s*[\w.*-]{1,100}", line):
            raise ValidationError(
                f"“{line[:110]}” is no event name. Write one name a line, such as Hangup, Queue* or "
                "!QueueMemberPause."
            )
        if line.count("*") > EVENT_NAME_STARS:
            raise ValidationError(f"Use at most {EVENT_NAME_STARS} stars in one line: “{line}” has more.")


class ServerQuerySet(models.QuerySet["Server"]):
    def enabled(self) -> "ServerQuerySet":
        return self.filter(enabled=True)

    def in_state(self, state: str) -> "ServerQuerySet":
        """The servers that are shown in this state, a `ServerHealth.State`, as far as rows can tell.

        Whether a secret is readable is known only to who reads it.
        """
        states = ServerHealth.State
        if state == states.DISABLED:
            return self.filter(enabled=False)
        fresh = models.Q(health__noted_at__gte=timezone.now() - STALE_AFTER)
        if state != states.UNKNOWN:
            return self.enabled().filter(fresh, health__state=state)
        said = fresh & ~models.Q(health__state=states.UNKNOWN)
        return self.enabled().exclude(pk__in=Server.objects.filter(said).values("pk"))


class Server(Address):
    """A PBX that amiweb looks after."""

    class EventKeeping(models.TextChoices):
        DEFAULT = "default", "All but the noise"
        ALL = "all", "All"
        NONE = "none", "None"
        CHOSEN = "chosen", "Only these"

    name = models.CharField(max_length=100, unique=True, help_text="How you call this PBX.")
    username = models.CharField(
        max_length=255,
        validators=[no_line_break],
        help_text="The [section] of manager.conf with the AMI account.",
    )
    secret_source = models.CharField(
        "secrets are", max_length=12, choices=Source.choices, default=Source.STORED
    )
    secret_name = models.CharField(
        "name of the secret",
        max_length=NAME_LENGTH,
        blank=True,
        help_text="A variable such as AMIWEB_SECRET_BERLIN, or a file of the folder AMIWEB_SECRETS_DIR such "
        "as berlin. Further secrets: …_ACTIONS, …_SSH_KEY, …_SSH_PASSWORD, or berlin.actions, "
        "berlin.ssh_key, berlin.ssh_password.",
    )
    # None where it isn't stored here.
    secret = EncryptedTextField(  # type: ignore[misc]
        null=True, blank=True, help_text="The secret= line of that section."
    )
    action_username = models.CharField(
        "username for actions",
        max_length=255,
        blank=True,
        validators=[no_line_break],
        help_text="A second account, for actions alone; the first then only listens. Empty: one does both.",
    )
    # None while there is no second account, or where it isn't stored here.
    action_secret = EncryptedTextField(  # type: ignore[misc]
        "secret for actions", null=True, blank=True, help_text="The secret= line of the second account."
    )
    max_sessions = models.PositiveSmallIntegerField(
        "sessions at most",
        default=8,
        validators=[MinValueValidator(1), MaxValueValidator(200)],
        help_text="Action sessions that it has at once, over all workers. What finds none free waits.",
    )
    event_keeping = models.CharField(
        "events to keep",
        max_length=10,
        choices=EventKeeping.choices,
        default=EventKeeping.DEFAULT,
        help_text="What is stored. The live page shows the others too, and says that they aren't kept.",
    )
    event_names = models.TextField(
        "event names",
        blank=True,
        validators=[validate_event_names],
        help_text="For “Only these”: one name a line. * stands for anything, and ! before a name leaves it "
        "out: Queue* and !QueueMemberPause. With nothing but ! lines, all others are kept.",
    )
    timezone = models.CharField(
        "time zone",
        max_length=64,
        default="UTC",
        validators=[validate_zone],
        help_text="Of the place where the PBX works, for example Europe/Berlin: schedules begin with it.",
    )
    rate_per_minute = models.PositiveIntegerField(
        "actions a minute at most",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text="Further actions wait. Empty: no limit.",
    )
    enabled = models.BooleanField(
        default=True, help_text="A disabled server is neither listened to nor acted on."
    )
    read_only = models.BooleanField(
        default=False,
        help_text="Only actions of the class read run on it, whoever asks, superusers too.",
    )
    maintenance = models.BooleanField(
        default=False,
        help_text="People work on the PBX itself: no action runs on it, whoever asks. Events go on.",
    )
    tags = models.ManyToManyField(
        Tag, blank=True, related_name="servers", help_text="What it has in common with other servers."
    )
    site = models.ForeignKey(
        Site,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="servers",
        help_text="Where it stands.",
    )
    simulated = models.BooleanField(
        default=False, editable=False, help_text="A simulator that amiweb brought along, not a real PBX."
    )
    notes = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ServerQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        permissions = (("choose_secret_source", "Can choose where a server's secrets come from"),)

    def __str__(self) -> str:
        return server_label(self.name, simulated=self.simulated)

    @property
    def account(self) -> tuple[str, ReadableSecret]:
        """The username and the secret that amiweb listens with."""
        return self.username, self._known("secret") or Secret("")

    @property
    def action_account(self) -> tuple[str, ReadableSecret]:
        """The username and the secret that actions log in with: the second account's, if there is one."""
        secret = self._known("action_secret") if self.action_username else None
        return self.account if secret is None else (self.action_username, secret)

    @property
    def ssh_secrets(self) -> tuple[ReadableSecret | None, ReadableSecret | None]:
        """The key and the password for the SSH server; None where there is none."""
        if self.transport != self.Transport.SSH:
            return None, None
        if self.secret_source == Source.STORED:
            return self.ssh_key, self.ssh_password
        key, password = (
            secret_elsewhere(self.secret_source, self.secret_name, field)
            for field in ("ssh_key", "ssh_password")
        )
        # One of both is enough. Without either the key says what is missing.
        return (
            key if key.exists or not password.exists else None,
            password if password.exists else None,
        )

    def ami_transport(self) -> TCP | TLS | SSH:
        """How the AMI client reaches this server.

        Raises:
            SecretUnreadable: the SSH key or password can't be read.
        """
        return with_secrets(self.ami_way, *self.ssh_secrets)

    @property
    def secrets(self) -> tuple[ReadableSecret, ...]:
        """All that logging in to it takes, with both accounts."""
        found = (self.account[1], self.action_account[1], *self.ssh_secrets)
        return tuple(dict.fromkeys(secret for secret in found if secret is not None))

    @property
    def secrets_readable(self) -> bool:
        """Whether everything that listening to it takes can be read."""
        found = (self.account[1], *self.ssh_secrets)
        return all(secret.readable for secret in found if secret is not None)

    def _known(self, field: str) -> ReadableSecret | None:
        if self.secret_source == Source.STORED:
            stored: ReadableSecret | None = getattr(self, field)
            return stored
        return secret_elsewhere(self.secret_source, self.secret_name, field)

    @property
    def state(self) -> "ServerHealth.State":
        """The state to show: what the settings say comes before what was last seen."""
        if not self.enabled:
            return ServerHealth.State.DISABLED
        if not self.secrets_readable:
            return ServerHealth.State.SECRET_UNREADABLE
        try:
            return self.health.current_state
        except ServerHealth.DoesNotExist:
            return ServerHealth.State.UNKNOWN

    def action_privileges(self, name: str) -> str | None:
        """The classes of which this server's login needs one to run an action, as in `call,all`.

        None: unknown; nobody has asked the PBX yet, or it doesn't let the login run that action.
        """
        try:
            return self.abilities.privileges(name)
        except ServerAbilities.DoesNotExist:
            return None


class ServerHealth(models.Model):
    """What the last one who talked to the server saw of it."""

    class State(models.TextChoices):
        UNKNOWN = "unknown", "Unknown"
        CONNECTING = "connecting", "Connecting"
        ONLINE = "online", "Online"
        OFFLINE = "offline", "Offline"
        LOGIN_FAILED = "login_failed", "Login failed"
        DISABLED = "disabled", "Disabled"
        SECRET_UNREADABLE = "secret_unreadable", "Secret unreadable"

    server = models.OneToOneField(Server, on_delete=models.CASCADE, related_name="health", primary_key=True)
    state = models.CharField(max_length=20, choices=State.choices, default=State.UNKNOWN)
    asterisk_version = models.CharField(max_length=VERSION_LENGTH, blank=True)
    ami_version = models.CharField(max_length=VERSION_LENGTH, blank=True)
    booted_at = models.DateTimeField(null=True, blank=True, help_text="When Asterisk started, by our clock.")
    reloaded_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was last reloaded, as of the last login, by our clock."
    )
    uptime_note = models.TextField(blank=True, help_text="Why these two are unknown, or uncertain.")
    certificate_subject = models.TextField(blank=True, help_text="Of the last login over TLS.")
    certificate_sha256 = models.CharField(max_length=64, blank=True)
    certificate_not_after = models.DateTimeField(null=True, blank=True)
    certificate_seen_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True, help_text="Kept after the server is back, with its time.")
    last_error_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField(null=True, blank=True, help_text="When the state last changed.")
    noted_at = models.DateTimeField(
        default=timezone.now, help_text="When a listener last said what the state is, be it the same."
    )

    class Meta:
        verbose_name_plural = "server health"

    def __str__(self) -> str:
        return f"{self.server_id}: {self.get_state_display()}"

    @property
    def current_state(self) -> "ServerHealth.State":
        """The noted state, while somebody watches: a listener that was killed takes nothing back."""
        stale = timezone.now() - self.noted_at > STALE_AFTER
        return ServerHealth.State.UNKNOWN if stale else ServerHealth.State(self.state)


class ServerAbilities(models.Model):
    """What a server's login may run, as the PBX answered ListCommands."""

    server = models.OneToOneField(
        Server, on_delete=models.CASCADE, related_name="abilities", primary_key=True
    )
    actions = models.JSONField(default=dict, help_text="Names of actions with their privileges.")
    asterisk_version = models.CharField(max_length=VERSION_LENGTH, blank=True)
    read_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "server abilities"

    def __str__(self) -> str:
        return f"{self.server_id}: {len(self.actions)} actions"

    def privileges(self, name: str) -> str | None:
        """The privileges of an action, in whatever case its name is given; None: it may not be run."""
        if name in self.actions:
            return str(self.actions[name])
        lowered = name.lower()
        return next((text for known, text in self.actions.items() if known.lower() == lowered), None)
