"""Which values nobody may see, and which characters a database can't take.

AMI carries secrets in plain headers, in the answers of `GetConfig` (`Line-000001-000003: secret=…`) and
`GetConfigJSON`, in pairs of headers of which one names what the other holds (`UpdateConfig`: `Var-000000:
secret`, `Value-000000: …`; `Setvar`, `DBPut` and their answers alike), in the output of CLI commands
(`password : …`) and in the commands themselves (`database put family secret …`). Everything that is stored
for eyes passes through here first. A name that only looks like a secret is masked too: a value hidden
needlessly is a nuisance, a secret once shown is out.
"""

import re
from collections.abc import Iterable

MASK = "********"

_WORD = r"secret|passw|md5_?cred|auth_?pass|pincode|credential"
# Bounded, so that a long line without a blank costs no more than its length.
_SENSITIVE = rf"[\w./-]{{0,64}}(?:{_WORD})[\w./-]{{0,64}}"
_HAS_WORD = re.compile(rf"{_WORD}|\bpin\b", re.IGNORECASE)
# Chan_sip's `SecretExist: Y` says that there is one, and not which.
_SENSITIVE_NAME = re.compile(rf"(?!.*exist$)(?:{_SENSITIVE}|pin)", re.IGNORECASE)
# At the beginning, or behind what separates several: `a=1,secret=…` in a Variable or in an application's
# Data. Where such a value ends nobody knows, so all that follows is masked.
_ASSIGNMENT = re.compile(rf"(.*?(?:^|[,;|&?(\s])(?:{_SENSITIVE}|pin)\)?\s*=>?\s*)(.+)", re.I | re.DOTALL)
# In JSON, as GetConfigJSON answers: "secret": "…" and "secret=…", quotes within escaped.
_JSON = re.compile(rf'("{_SENSITIVE}"\s*:\s*"|"{_SENSITIVE}\s*=>?\s*)((?:[^"\\]|\\.)+)', re.IGNORECASE)
# The value of `[Secret:] <value>`, as `manager show command Login` prints it, is none.
_OUTPUT = re.compile(rf"(\b(?:{_SENSITIVE}|pin)\s*(?:=>?|:)\s*)(?![<\]])(\S.*)", re.IGNORECASE)
# As `realtime load` prints a column's name and its value.
_NAME_AND_VALUE = re.compile(rf"(\s*(?:{_SENSITIVE}|pin)\s{{2,64}})(?![:=])(\S.*)", re.IGNORECASE)
# The heading of a table with a column for secrets, as `iax2 show users` prints one: where that one begins,
# and where the next.
_HEADING = re.compile(r"\w[^:=]{0,200}?\s{2}(Secret|Password)(?:\s{2,64}(?=\S)|\s*$)", re.IGNORECASE)
# A CLI command that carries a value behind a name that says it is secret.
_COMMAND = re.compile(
    rf"(\s*database\s+put\s+(?:\S*{_SENSITIVE}\S*\s+\S+|\S+\s+\S*{_SENSITIVE}\S*)\s+"
    rf"|\s*dialplan\s+set\s+(?:chanvar\s+\S+|global)\s+\S*{_SENSITIVE}\S*\s+)(.+)",
    re.IGNORECASE | re.DOTALL,
)
# A mailbox of voicemail.conf, `100 => 4711,Ada`, as GetConfig and GetConfigJSON answer it: nothing there says
# that its password is one. In other files a line like this is rare, and hidden needlessly.
_MAILBOX = re.compile(r"(\s*\d+\s*=>?\s*)(\S.*)", re.DOTALL)
_MAILBOX_JSON = re.compile(r'("\d+\s*=>?\s*|"\d+"\s*:\s*")((?:[^"\\]|\\.)+)')
#: Headers that name what another holds: the name's, and the value's. A number at the end belongs to both.
_PAIRED = (
    (re.compile(r"var(-\d+)", re.IGNORECASE), "value{}"),
    (re.compile(r"variable()", re.IGNORECASE), "value"),
    (re.compile(r"(?:key|family)()", re.IGNORECASE), "val"),
)

Pairs = list[tuple[str, str]]


def is_secret(name: str) -> bool:
    """Whether a header of this name holds a secret."""
    return _SENSITIVE_NAME.fullmatch(name.strip()) is not None


def headers_mask(headers: Iterable[tuple[str, str]], *, first_names: bool = False) -> Pairs:
    """The headers with every secret value replaced by `MASK`; names, order and number stay.

    Args:
        headers: pairs in order.
        first_names: let only the first header of a name say what another holds, as Asterisk reads them. For
            eyes each of them counts.
    """
    pairs = list(headers)
    named = _named_secret(pairs, first_names)
    masked: Pairs = []
    for name, value in pairs:
        if value and (is_secret(name) or name.strip().lower() in named):
            value = MASK
        else:
            if _HAS_WORD.search(value):
                value = _value_mask(value)
            if name.lower().startswith("line-") and (found := _MAILBOX.fullmatch(value)):
                value = found[1] + MASK
            elif name.lower() == "json":
                value = _MAILBOX_JSON.sub(rf"\g<1>{MASK}", value)
        masked.append((name, value))
    return masked


def _named_secret(pairs: Pairs, first_names: bool) -> set[str]:
    """The names, in small letters, of headers that hold a secret since another header says so."""
    named: set[str] = set()
    seen: set[str] = set()
    for name, value in pairs:
        bare = name.strip().lower()
        if first_names and bare in seen:
            continue
        seen.add(bare)
        for names, values in _PAIRED:
            if (match := names.fullmatch(bare)) and _HAS_WORD.search(value):
                named.add(values.format(match[1]))
    return named


def _value_mask(value: str) -> str:
    """A value that is no secret itself, with the secrets that stand in it masked."""
    if _JSON.search(value):
        return _JSON.sub(rf"\g<1>{MASK}", value)
    found = _ASSIGNMENT.fullmatch(value) or _COMMAND.fullmatch(value)
    return found[1] + MASK if found else value


def output_mask(text: str) -> str:
    """The output of a CLI command with what follows `password :`, `secret=` and their like masked."""
    lines = []
    column: slice | None = None
    for line in text.split("\n"):
        if not line.strip():
            column = None
        if column is not None and line[column].strip():
            width = len(line[column])
            line = line[: column.start] + MASK.ljust(width) + line[column.start + width :]
        # Most lines hold no such word, and are not worth the dearer look.
        if _HAS_WORD.search(line):
            if heading := _HEADING.match(line):
                column = slice(heading.start(1), heading.end() if heading.end() < len(line) else None)
            elif named := _NAME_AND_VALUE.fullmatch(line):
                line = named[1] + MASK
            else:
                line = _OUTPUT.sub(rf"\g<1>{MASK}", line)
        lines.append(line)
    return "\n".join(lines)


def secret_values(headers: Iterable[tuple[str, str]]) -> set[str]:
    """The values that `headers_mask` hides, to take them out of a traceback."""
    pairs = list(headers)
    hidden = set()
    for (_, value), (_, masked) in zip(pairs, headers_mask(pairs), strict=True):
        if value == masked:
            continue
        if masked.endswith(MASK):
            hidden.add(value[len(masked) - len(MASK) :])
        else:  # in the middle, as in JSON
            hidden |= {match[2] for match in _JSON.finditer(value)}
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
