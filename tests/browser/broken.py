"""amiweb's settings with one page more, which has a mistake: to see what a browser gets then."""

from amiweb.settings import *  # noqa: F403  the point is to take all

ROOT_URLCONF = "tests.browser.broken_urls"
