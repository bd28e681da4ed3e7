"""The two kinds of admin pages: those whose changes are audited, and those that change nothing."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import admin
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import ModelChoiceField, ModelMultipleChoiceField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from ami_integration.audit.services import entry_write, request_address

#: The page with the audit, by its name.
LIST = "admin:ami_integration_auditentry_changelist"
#: What names one object in that page's address.
ABOUT = "about"
HIDDEN = "********"
#: Characters of a value that the audit keeps.
LONGEST = 500


class AuditedAdmin(admin.ModelAdmin):
    """Writes an entry for each object that somebody adds, changes or deletes, in the same transaction."""

    #: Fields whose values nobody may read.
    audit_hidden: tuple[str, ...] = ()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)  # many-to-many fields are saved here
        changes = self.audit_changes(form)
        if changes or not change:
            self.audit_write(request, form.instance, "change" if change else "add", changes)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with transaction.atomic():
            self.audit_write(request, obj, "delete", self.audit_deleted(obj))
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            for obj in queryset:
                self.audit_write(request, obj, "delete", self.audit_deleted(obj))
            super().delete_queryset(request, queryset)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The button “History”: everything about this object in the audit, for those who may see that."""
        if request.user.has_perm("ami_integration.view_auditentry"):
            return HttpResponseRedirect(about_url(str(self.opts.model_name), object_id))
        return super().history_view(request, object_id, extra_context)

    def audit_deleted(self, obj: Any) -> dict[str, Any]:
        """What to note of an object that is deleted."""
        return {}

    def audit_hides(self, name: str) -> bool:
        """Whether nobody may read the values of this field."""
        return name in self.audit_hidden

    def audit_changes(self, form: Any) -> dict[str, Any]:
        """What a form changes: each field's value before and after."""
        return form_changes(form, self.audit_hides)

    def audit_write(self, request: HttpRequest, obj: Any, verb: str, what: Mapping[str, Any]) -> None:
        """One entry about one object."""
        kind = str(self.opts.model_name)
        entry_write(
            actor=request.user,
            origin="admin",
            address=request_address(request),
            verb=f"{kind}.{verb}",
            what=what,
            object_type=kind,
            object_id=obj.pk,
            object_name=str(obj),
        )


class ReadOnlyAdmin(admin.ModelAdmin):
    """A page to look at: its rows are amiweb's own to write, and nobody changes them by hand."""

    actions: Any = None  # an "Action:" menu would only confuse

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def form_changes(form: Any, hides: Callable[[str], bool]) -> dict[str, Any]:
    """What a valid form changes: each field's value before and after.

    Args:
        hides: says of a field's name whether nobody may read its values.
    """
    changes = {}
    for name in form.changed_data:
        before, after = form.initial.get(name), form.cleaned_data.get(name)
        field = form.fields[name]
        one = isinstance(field, ModelChoiceField) and not isinstance(field, ModelMultipleChoiceField)
        if one and isinstance(before, int):
            # By its key, even one that this form doesn't offer.
            offered = cast("QuerySet[Any]", field.queryset)
            before = offered.model._default_manager.filter(pk=before).first()
        if hides(name):
            changes[name] = {"from": HIDDEN, "to": HIDDEN}
        # What a form filled in by itself may be what was there.
        elif before != after or form.instance.pk is None:
            changes[name] = {"from": value_plain(before), "to": value_plain(after)}
    return changes


def about_url(object_type: str, object_id: object) -> str:
    """The address of everything about one object: a server with its runs, a person with what they did."""
    return f"{reverse(LIST)}?{urlencode({ABOUT: f'{object_type}:{object_id}'})}"


def value_plain(value: Any) -> Any:
    """A form's value as JSON takes it: objects by their names, long texts cut."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[:LONGEST] + "…"
    if isinstance(value, Iterable) and not isinstance(value, Model):
        return [value_plain(item) for item in value]
    return str(value)
