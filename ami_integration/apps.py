"""The one Django app. Its rooms are folders, not apps: they share migrations, static files and one label."""

from django.apps import AppConfig


class AmiIntegrationConfig(AppConfig):
    name = "ami_integration"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "PBXs"

    def ready(self) -> None:
        from ami_integration import numbers
        from ami_integration.access import logins  # noqa: F401  to hear of logins
        from ami_integration.audit import logins as audit_logins  # noqa: F401
        from ami_integration.schedules.alerts import checks as alerts_checks  # noqa: F401  to register them
        from ami_integration.secrets import checks as secrets_checks  # noqa: F401
        from ami_integration.servers import elsewhere  # noqa: F401

        numbers.register()
