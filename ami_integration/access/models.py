"""Rules: what the members of a group may do on which servers.

A rule names servers by foreign keys that are looked up lazily: rooms above import this one, not the reverse.
"""

import fnmatch
import re
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models

from ami_integration.access.commandline import command_words
from ami_integration.access.danger import Danger, Headers, action_name, header_value


def lines_of(text: str) -> list[str]:
    """The lines of a text that say something."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def dangers_default() -> list[str]:
    return [Danger.READ.value]


class AccessRule(models.Model):
    """One grant, or one denial."""

    class Effect(models.TextChoices):
        ALLOW = "allow", "Allow"
        DENY = "deny", "Deny"

    name = models.CharField(max_length=100, unique=True, help_text="Named where this rule decides something.")
    group = models.ForeignKey(
        Group,
        on_delete=models.PROTECT,  # rules go by somebody's will, with an audit entry
        related_name="access_rules",
        help_text="Whose members it is for.",
    )
    effect = models.CharField(
        max_length=5,
        choices=Effect.choices,
        default=Effect.ALLOW,
        help_text="A denial wins over every grant.",
    )
    enabled = models.BooleanField(default=True)
    all_servers = models.BooleanField(default=False, help_text="Also those that are added later.")
    tags = models.ManyToManyField(
        "ami_integration.Tag",
        blank=True,
        related_name="+",
        help_text="Every server that has one of these tags.",
    )
    servers = models.ManyToManyField("ami_integration.Server", blank=True, related_name="+")
    dangers = models.JSONField(
        "danger classes",
        default=dangers_default,
        help_text="Class read lets people see a server's events and runs, too.",
    )
    actions = models.TextField(
        blank=True,
        help_text="Only these actions, one on each line; * stands for anything, as in Queue*. Empty: all of "
        "these classes.",
    )
    cli_prefixes = models.TextField(
        "CLI prefixes",
        blank=True,
        help_text="Only the action Command, and only CLI commands that begin with the words of one of these "
        "lines, as in “queue show”. Empty: the rule isn't about CLI commands in particular.",
    )
    notes = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name",)
        verbose_name = "access rule"

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        errors: dict[str, str] = {}
        unknown = [str(word) for word in self.dangers or () if word not in Danger.values]
        if unknown:
            errors["dangers"] = f"There is no class {unknown[0]}."
        elif not self.dangers:
            errors["dangers"] = "Choose at least one class; a rule without any would say nothing."
        if self.cli_prefixes.strip() and any(line.lower() != "command" for line in lines_of(self.actions)):
            errors["actions"] = (
                "A rule with CLI prefixes is about the action Command alone. Leave this empty, or make "
                "a rule of its own for the other actions."
            )
        for line in lines_of(self.cli_prefixes):
            if not command_words(line):
                errors["cli_prefixes"] = f"“{line}” has no word in it."
        if errors:
            raise ValidationError(errors)

    @property
    def narrowed(self) -> bool:
        """Whether it speaks of some actions of its classes only."""
        return bool(lines_of(self.cli_prefixes)) or (
            bool(lines_of(self.actions)) and "*" not in lines_of(self.actions)
        )

    def fits(self, *, danger: Danger, action: str, headers: Headers) -> bool:
        """Whether it speaks of this request (the server is not looked at)."""
        if danger not in self.dangers:
            return False
        name = action_name(action)
        patterns = lines_of(self.actions)
        if patterns and not any(_fits(name, pattern) for pattern in patterns):
            return False
        prefixes = lines_of(self.cli_prefixes)
        if not prefixes:
            return True
        return name == "command" and any(
            _begins_with(header_value(headers, "Command") or "", prefix) for prefix in prefixes
        )


def _fits(name: str, pattern: str) -> bool:
    return re.fullmatch(fnmatch.translate(pattern.lower()), name) is not None


def _begins_with(command: str, prefix: str) -> bool:
    """Word by word, as Asterisk reads them."""
    words, wanted = command_words(command), command_words(prefix)
    return len(words) >= len(wanted) > 0 and all(
        _fits(word.lower(), want) for word, want in zip(words, wanted, strict=False)
    )


def dangers_clean(value: Any) -> list[str]:
    """The classes of a rule in their order, each once."""
    return [danger.value for danger in Danger if danger.value in (value or ())]
