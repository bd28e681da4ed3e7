"""Management commands; each is thin, the work is done in the rooms."""
