"""The triggers that guard the audit: what Django's models can't say (`ami_integration.audit.guard`)."""

from django.db import migrations

from ami_integration.audit.guard import guard_install, guard_remove


class Migration(migrations.Migration):

    dependencies = [
        ('ami_integration', '0001_initial'),
    ]

    operations = [
        migrations.RunPython(
            lambda apps, schema_editor: guard_install(schema_editor.connection),
            lambda apps, schema_editor: guard_remove(schema_editor.connection),
        ),
    ]
