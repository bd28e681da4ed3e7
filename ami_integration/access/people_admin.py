"""Django's own pages of users and groups, audited: permissions, groups and passwords are access, too."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from ami_integration.audit.admin import AuditedAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class AuditedUserAdmin(AuditedAdmin, UserAdmin):
    """Users. Changes of passwords are told by `audit.passwords`, which knows every way."""

    audit_hidden = ("password", "password1", "password2")

    def audit_deleted(self, obj: User) -> dict[str, Any]:
        return {"superuser": obj.is_superuser, "groups": [group.name for group in obj.groups.all()]}


@admin.register(Group)
class AuditedGroupAdmin(AuditedAdmin, GroupAdmin):
    """Groups."""

    def audit_deleted(self, obj: Group) -> dict[str, Any]:
        members = obj.user_set.order_by("username")
        return {"members": [user.get_username() for user in members]}
