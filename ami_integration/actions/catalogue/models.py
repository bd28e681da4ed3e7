"""Catalogues: what a PBX says of its actions and events, once per content; and which server has which.

Fifty servers of one version with the same modules share one catalogue, found by the hash of all pages. What
a server's login may run is the server's own (`servers.models.ServerAbilities`).
"""

from typing import Any

from django.db import models

from ami_integration.actions.catalogue.descriptions import ActionDescription, EventDescription
from ami_integration.actions.catalogue.shipped import release, version_key
from ami_integration.servers.models import VERSION_LENGTH, Server
from ami_integration.servers.services import version_is_simulated


class Catalogue(models.Model):
    """The pages of one build of Asterisk with one set of modules; never changed, only replaced."""

    content_hash = models.CharField(max_length=64, unique=True, help_text="SHA-256 of all pages.")
    asterisk_version = models.CharField(max_length=VERSION_LENGTH, blank=True)
    shipped = models.BooleanField(
        default=False,
        help_text="Brought along by amiweb for logins that may not run Command: names without sentences.",
    )
    unread = models.JSONField(default=list, help_text="Names that the PBX lists and has no page for.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("asterisk_version", "pk")

    def __str__(self) -> str:
        shipped = " (shipped with amiweb)" if self.shipped else ""
        return f"Asterisk {self.asterisk_version or 'of unknown version'}{shipped}"

    @property
    def release(self) -> str:
        """The version without what a distribution adds to it; a simulator's stays told from a real one's."""
        simulated = " simulated" if version_is_simulated(self.asterisk_version) else ""
        return (release(self.asterisk_version) or "unknown") + simulated

    @property
    def age_key(self) -> tuple[Any, ...]:
        """By which catalogues are put into order: the newest last, what a PBX said itself after the rest."""
        return not self.shipped, version_key(self.asterisk_version), self.pk


class CatalogueEntry(models.Model):
    """What actions and events have in common."""

    catalogue = models.ForeignKey(Catalogue, on_delete=models.CASCADE, related_name="%(class)ss")
    name = models.CharField(max_length=255)
    synopsis = models.TextField(blank=True)
    search = models.TextField(help_text="In lower case: all that a search looks at.")
    data = models.JSONField(help_text="The whole description.")

    class Meta:
        abstract = True
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class CatalogueAction(CatalogueEntry):
    """An action of a catalogue."""

    privileges = models.CharField(max_length=255, help_text="As Asterisk writes them: call,all or <none>.")

    class Meta(CatalogueEntry.Meta):
        verbose_name = "action in the catalogue"
        verbose_name_plural = "catalogue: actions"
        constraints = (models.UniqueConstraint(fields=("catalogue", "name"), name="catalogue_action_unique"),)
        indexes = (models.Index(fields=("name",), name="catalogue_action_name"),)

    @classmethod
    def of(cls, catalogue: Catalogue, description: ActionDescription) -> "CatalogueAction":
        """A row, not yet stored."""
        arguments = [argument.name for argument in description.arguments]
        words = [description.name, description.synopsis, *arguments, *description.privileges]
        return cls(
            catalogue=catalogue,
            name=description.name,
            synopsis=description.synopsis,
            privileges=description.privileges_text[:255],
            search="\n".join(words).lower(),
            data=description.to_json(),
        )

    def description(self) -> ActionDescription:
        """The whole of it, and where it comes from if that isn't the PBX itself."""
        data: dict[str, Any] = dict(self.data)
        if self.catalogue.shipped:
            data["shipped_for"] = self.catalogue.asterisk_version
        return ActionDescription.from_json(data)


class CatalogueEvent(CatalogueEntry):
    """An event of a catalogue."""

    class Meta(CatalogueEntry.Meta):
        verbose_name = "event in the catalogue"
        verbose_name_plural = "catalogue: events"
        constraints = (models.UniqueConstraint(fields=("catalogue", "name"), name="catalogue_event_unique"),)
        indexes = (models.Index(fields=("name",), name="catalogue_event_name"),)

    @classmethod
    def of(cls, catalogue: Catalogue, description: EventDescription) -> "CatalogueEvent":
        """A row, not yet stored."""
        words = [description.name, description.synopsis, *description.headers]
        return cls(
            catalogue=catalogue,
            name=description.name,
            synopsis=description.synopsis,
            search="\n".join(words).lower(),
            data=description.to_json(),
        )

    def description(self) -> EventDescription:
        """The whole of it."""
        return EventDescription.from_json(self.data)


class ServerCatalogue(models.Model):
    """Which catalogue a server has, and what came of reading it."""

    server = models.OneToOneField(
        Server, on_delete=models.CASCADE, related_name="catalogue", primary_key=True
    )
    catalogue = models.ForeignKey(Catalogue, on_delete=models.PROTECT, null=True, related_name="servers")
    read_at = models.DateTimeField(null=True, help_text="When it was last read to the end.")
    attempted_at = models.DateTimeField(null=True, help_text="When it was last asked for or begun.")
    error = models.TextField(blank=True, help_text="Why the last attempt failed; empty: it did not.")

    def __str__(self) -> str:
        return f"{self.server_id}: {self.catalogue_id}"

    @property
    def pending(self) -> bool:
        """Whether it was asked for and nothing came of it yet."""
        if self.attempted_at is None or self.error:
            return False
        return self.read_at is None or self.attempted_at > self.read_at
