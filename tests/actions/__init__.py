"""Running actions."""
