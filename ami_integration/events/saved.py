"""Questions to the history that a person has given a name, to ask them again."""

from django.conf import settings
from django.db import models


class SavedFilter(models.Model):
    """A question of one person's."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_event_filters"
    )
    name = models.CharField(max_length=80)
    query = models.TextField(help_text="The history page's address behind its question mark.")

    class Meta:
        ordering = ("name",)
        default_permissions = ()  # whoever may watch events has filters of their own
        constraints = (models.UniqueConstraint(fields=("user", "name"), name="saved_filter_name_once"),)

    def __str__(self) -> str:
        return self.name
