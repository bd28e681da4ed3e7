"""Django's own pages of users and groups, audited: permissions, groups and passwords are access, too."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest, HttpResponse

from ami_integration.audit.admin import HIDDEN, AuditedAdmin
from ami_integration.keys import pk_of

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class AuditedUserAdmin(AuditedAdmin, UserAdmin):
    """Users."""

    audit_hidden = ("password", "password1", "password2")

    def audit_deleted(self, obj: User) -> dict[str, Any]:
        return {"superuser": obj.is_superuser, "groups": [group.name for group in obj.groups.all()]}

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Django's page, and an entry if the password is another one behind it."""
        users = User.objects.filter(pk=pk_of(id))
        before = users.values_list("password", flat=True).first()
        response = super().user_change_password(request, id, form_url)
        user = users.first()
        if user is not None and user.password != before:
            self.audit_write(request, user, "change", {"password": {"from": HIDDEN, "to": HIDDEN}})
        return response


@admin.register(Group)
class AuditedGroupAdmin(AuditedAdmin, GroupAdmin):
    """Groups."""

    def audit_deleted(self, obj: Group) -> dict[str, Any]:
        members = obj.user_set.order_by("username")
        return {"members": [user.get_username() for user in members]}
