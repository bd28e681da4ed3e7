"""Primary keys as they stand in addresses and forms, where people may type anything."""

_LARGEST = 2**63 - 1


def pk_of(text: str) -> int:
    """The key that this text is; 0, which no row has, where it can't be one."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        return 0
    key = int(text)
    return key if key <= _LARGEST else 0


def pks_of(texts: list[str]) -> list[int]:
    """The keys among these texts."""
    return [key for key in map(pk_of, texts) if key]
