"""Settings of amiweb's real processes, with the mistakes of `tests.secrets.faults` planted."""

from amiweb.settings import *  # noqa: F403 - the point is to take all
from amiweb.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.secrets.faults.Faults"]
