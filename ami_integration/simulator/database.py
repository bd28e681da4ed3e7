"""Asterisk's own small database (AstDB): values by family and key, in the order of their paths."""


class Database:
    """A path is ``/FAMILY/KEY``; families may have parts, too."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def put(self, family: str, key: str, value: str) -> None:
        """Write an entry."""
        self._values[f"/{family}/{key}"] = value

    def get(self, family: str, key: str) -> str | None:
        """An entry's value, None if there is none."""
        return self._values.get(f"/{family}/{key}")

    def delete(self, family: str, key: str) -> bool:
        """Delete an entry; whether there was one."""
        return self._values.pop(f"/{family}/{key}", None) is not None

    def tree(self, family: str = "", key: str = "") -> list[tuple[str, str]]:
        """The entries of a family, or below a key of it, with their paths; everything without a family."""
        prefix = f"/{family}/{key}" if family and key else f"/{family}" if family else ""
        return [
            (path, value)
            for path, value in sorted(self._values.items())
            if path == prefix or path.startswith(f"{prefix}/")
        ]

    def delete_tree(self, family: str, key: str = "") -> int:
        """Delete what tree() gives; how many it was."""
        found = self.tree(family, key)
        for path, _ in found:
            del self._values[path]
        return len(found)

    def with_key(self, key: str) -> list[tuple[str, str]]:
        """The entries of any family with this key, with their paths."""
        return [(path, value) for path, value in sorted(self._values.items()) if path.endswith(f"/{key}")]
