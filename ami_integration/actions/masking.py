"""Which values nobody may see, and which characters a database can't take.

AMI carries secrets in plain headers, in the answers of `GetConfig` (`Line-000001-000003: secret=…`), in
`UpdateConfig` (`Var-000000: secret`, `Value-000000: …`) and in the output of CLI commands (`password : …`).
Everything that is stored for eyes passes through here first. A name that only looks like a secret is masked
too: a value hidden needlessly is a nuisance, a secret once shown is out.
"""

import re
from collections.abc import Iterable

MASK = "********"

_WORD = r"secret|passw|md5_?cred|auth_?pass|pincode|credential"
# Bounded, so that a long line without a blank costs no more than its length.
_SENSITIVE = rf"[\w./-]{{0,64}}(?:{_WORD})[\w./-]{{0,64}}"
_HAS_WORD = re.compile(_WORD, re.IGNORECASE)
_SENSITIVE_NAME = re.compile(rf"{_SENSITIVE}|pin", re.IGNORECASE)
_ASSIGNMENT = re.compile(rf"(\s*(?:{_SENSITIVE})\s*=>?\s*)(.+)", re.IGNORECASE | re.DOTALL)
# The value of `[Secret:] <value>`, as `manager show command Login` prints it, is none.
_OUTPUT = re.compile(rf"(\b{_SENSITIVE}\s*(?:=>?|:)\s*)(?![<\]])(\S.*)", re.IGNORECASE)
_UPDATE = re.compile(r"var(-\d+)", re.IGNORECASE)

Pairs = list[tuple[str, str]]


def is_secret(name: str) -> bool:
    """Whether a header of this name holds a secret."""
    return _SENSITIVE_NAME.fullmatch(name.strip()) is not None


def headers_mask(headers: Iterable[tuple[str, str]]) -> Pairs:
    """The headers with every secret value replaced by `MASK`; names, order and number stay."""
    pairs = list(headers)
    # UpdateConfig gives the variable's name in one header and its value in another of the same number.
    updates = {
        f"value{match[1]}" for name, value in pairs if (match := _UPDATE.fullmatch(name)) and is_secret(value)
    }
    masked: Pairs = []
    for name, value in pairs:
        if value and (is_secret(name) or name.lower() in updates):
            value = MASK
        elif assignment := _ASSIGNMENT.fullmatch(value):
            value = assignment[1] + MASK
        masked.append((name, value))
    return masked


def output_mask(text: str) -> str:
    """The output of a CLI command with what follows `password :`, `secret=` and their like masked."""
    # Most lines hold no such word, and are not worth the dearer look.
    return "\n".join(
        _OUTPUT.sub(rf"\g<1>{MASK}", line) if _HAS_WORD.search(line) else line for line in text.split("\n")
    )


def secret_values(headers: Iterable[tuple[str, str]]) -> set[str]:
    """The values that `headers_mask` hides, to take them out of a traceback."""
    pairs = list(headers)
    hidden = set()
    for (_, value), (_, masked) in zip(pairs, headers_mask(pairs), strict=True):
        if value != masked:
            hidden.add(value[len(masked) - len(MASK) :])
    return hidden - {""}


def text_without(text: str, values: Iterable[str]) -> str:
    """The text with every one of these values masked, the longest first."""
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text


def storable(text: str) -> str:
    r"""The text as a database takes it: NUL and bytes that are not UTF-8 become visible (`\x00`, `\xff`)."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        data = text.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def storable_headers(headers: Iterable[tuple[str, str]]) -> Pairs:
    """`storable` for names and values."""
    return [(storable(name), storable(value)) for name, value in headers]
