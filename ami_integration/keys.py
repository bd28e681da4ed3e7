"""Primary keys as they stand in addresses and forms, where people may type anything."""

_LARGEST = 2**63 - 1


def pk_of(text: str) -> int | None:
    """The key that this text is; None, which no row has, where it can't be one."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        return None
    key = int(text)
    return key if key <= _LARGEST else None


def pks_of(texts: list[str]) -> list[int]:
    """The keys among these texts."""
    return [key for key in map(pk_of, texts) if key is not None]
