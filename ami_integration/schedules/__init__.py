"""Actions that run by themselves: amiweb's own calendar, of which Celery beat is only the clock."""
