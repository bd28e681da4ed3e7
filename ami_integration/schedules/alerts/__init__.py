"""Telling people that a schedule fails, stays silent or is late, by mail and by a webhook."""
