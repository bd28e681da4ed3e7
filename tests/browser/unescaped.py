"""amiweb's settings with templates that escape nothing: what a test of hostile words has to notice."""

from amiweb.settings import *  # noqa: F403  the point is to take all
from amiweb.settings import TEMPLATES

for _engine in TEMPLATES:
    _engine["OPTIONS"]["autoescape"] = False
