"""The Celery application: the doorbell and the clock.

The rows in the database are the truth, so a task carries primary keys alone (JSON), keeps no result, and is
acknowledged before it runs: what may have reached a PBX must never run a second time because a worker died.
Beat knows a few entries of ours. One seals the audit, every minute; one removes expired logins, once a day.
The other is the tick: which schedule is
due is decided by `schedules.tick`, so an edit holds at once and a second beat does no harm; a tick that
waited longer than a second is worthless and expires. Ticks have a task queue and a worker of their own (the
process `ticker`), so that no run holds them up.
"""

import os

from celery import Celery

from amiweb import hearts

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amiweb.settings")

app = Celery("amiweb")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["ami_integration"])
app.conf.beat_schedule = {
    "schedules.tick": {"task": "schedules.tick", "schedule": 1.0, "options": {"expires": 1}},
    "audit.seal": {"task": "audit.seal", "schedule": 60.0, "options": {"expires": 60}},
    "access.sessions_clear": {"task": "access.sessions_clear", "schedule": 3600.0},
}
hearts.connect(app)
