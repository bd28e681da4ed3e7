"""Secrets at rest: their encryption, what can't be read of them, and the change of their keys."""
