"""Which values nobody may see, and which characters a database can't take.

AMI carries secrets in plain headers, in the answers of `GetConfig` (`Line-000001-000003: secret=…`) and
`GetConfigJSON`, in pairs of headers of which one names what the other holds (`UpdateConfig`: `Var-000000:
secret`, `Value-000000: …`; `Setvar`, `DBPut` and their answers alike), in the output of CLI commands
(`password : …`) and in the commands themselves (`database put family secret …`). Everything that is stored
for eyes passes through here first. A name that only looks like a secret is masked too: a value hidden
needlessly is a nuisance, a secret once shown is out.
"""

import bisect
import re
import unicodedata
from collections.abc import Iterable

from ami_integration.access.commandline import command_words

MASK = "********"

# In names of any shape: `dbpass`, `AuthPass`, `refresh_token`, but neither `PassThrough`, `bypass` and
# `compass` nor `requirecalltoken` and `token_url`.
_STRONG = (
    r"secret|passw|passphrase|passcode|(?<!by)(?<!by_)(?<!com)pass(?![a-z]|[_-]?thr)|pwd(?![a-z])"
    r"|md5_?cred|credential"
)
# These are said of other things, too. A `pin` begins its word or follows who has it, or it is `Spinning`.
_WEAK = (
    r"(?<!call)token(?![a-z]|[_-](?:type|url|uri|life|exp|ttl))|(?:api|access)[_-]?key(?![a-z])"
    r"|(?<![a-z])digest(?![a-z]|_?alg)"
    r"|(?:(?<![a-z])|admin|user|conf|agent|moderator|guest|host|leader|marked)pin(?:s|code|number|no)?(?![a-z])"
)
_WORD = rf"(?:{_STRONG}|{_WEAK})"
_HAS_WORD = re.compile(_WORD, re.IGNORECASE)
# One of these stands in each of those words: far quicker to look for, and most lines hold none.
_CORES = ("secret", "pass", "pwd", "cred", "token", "key", "digest", "pin")
_HAS_STRONG = re.compile(_STRONG, re.IGNORECASE)
# What weak words may be followed by: a switch, or the names of algorithms.
_SWITCH = r"(?:yes|no|true|false|on|off|auto|none|optional|md5|sha-?\d+(?:[-/_]\d+)?)(?:-sess)?"
_IS_HARMLESS = re.compile(rf"\s*{_SWITCH}(?:\s*,\s*{_SWITCH})*\s*", re.IGNORECASE)
# Bounded, so that a long line without a blank costs no more than its length.
_SENSITIVE = rf"[\w./-]{{0,64}}{_WORD}[\w./-]{{0,64}}"
# Chan_sip's `SecretExist: Y` says that there is one, and not which.
_SENSITIVE_NAME = re.compile(rf"(?!.*exist$){_SENSITIVE}", re.IGNORECASE)
# What makes a value of what follows such a word: `a=1,secret=…` in a Variable or in an application's Data.
# Where such a value ends nobody knows, so all that follows is masked.
_ASSIGNED = re.compile(r"[\w./-]{0,64}\)?\s*=>?\s*(.+)", re.DOTALL)
# In JSON, as GetConfigJSON answers: "secret": "…" and "secret=…", quotes within escaped.
_STRING = r'(?:[^"\\]|\\.)'
_JSON = re.compile(rf'("({_SENSITIVE})(?:"\s*:\s*"|\s*=>?\s*))({_STRING}+)', re.IGNORECASE)
# And within a string of it: "exten": "1,1,Set(API_SECRET=…)". It ends with the string.
_JSON_WITHIN = re.compile(rf"(({_SENSITIVE})\)?(?:\s|\\[nrt])*=>?\s*)({_STRING}+)", re.IGNORECASE)
# The value of `[Secret:] <value>`, as `manager show command Login` prints it, is none.
_PRINTED = re.compile(r"[\w./-]{0,64}\s*(?:=>?|:)\s*(?![<\]])(\S.*)")
# As `realtime load` prints a column's name and its value. A module's name is none.
_NAME_AND_VALUE = re.compile(rf"(\s*(?!\S*\.so\b){_SENSITIVE}\s{{2,64}})(?![:=])(\S.*)", re.IGNORECASE)
# The heading of a table with a column for secrets, as `iax2 show users` prints one: where that one begins,
# and where the next.
_HEADING = re.compile(r"\w[^:=]{0,200}?\s{2}(Secret|Password)(?:\s{2,64}(?=\S)|\s*$)", re.IGNORECASE)
# A mailbox of voicemail.conf, `100 => 4711,Ada`, as GetConfig and GetConfigJSON answer it, and a room of
# meetme.conf, `conf => 100,1234`: nothing there says that its password is one. In other files a line like
# this is rare, and hidden needlessly.
_MAILBOX = re.compile(r"(\s*(?:\d+\s*=>?|conf\s*=>?\s*[^,]*,)\s*)(\S.*)", re.DOTALL)
_MAILBOX_JSON = re.compile(rf'("\d+\s*=>?\s*|"\d+"\s*:\s*"|"conf(?:"\s*:\s*"|\s*=>?\s*)[^",]*,)({_STRING}+)')
# `register => user:secret@host` and `auth = user:secret@realm` of sip.conf and iax.conf; and the same in the
# string of a channel, an address or a database: `IAX2/user:secret@host`, `sip:user:secret@host`. What a colon
# follows is no user where it says of which kind an address is (`sip:100@host`, `park:701@parkedcalls`), nor
# behind an @: that is a host with its port.
_LOGIN = re.compile(
    r"(\s*(?:register|auth)\s*=>?\s*(?:\w+://)?[^:#]*[:#])(.+)(?=@)", re.IGNORECASE | re.DOTALL
)
_LOGIN_JSON = re.compile(
    rf'("(?:register|auth)(?:"\s*:\s*"|\s*=>?\s*)(?:\w+:\\?/\\?/)?[^:#"]*[:#])({_STRING}+)(?=@)',
    re.IGNORECASE,
)
_KINDS = (
    "sips?|pjsip|iax2?|tel|mailto|pres|im|xmpp|jabber|h323|mwi|park|custom|custompresence|presence|queue|local"
    "|agent|meetme|confbridge|calendar|stasis|device|hint"
)
_USERINFO = re.compile(
    rf"((?<![\w.+~%*@-])(?!(?:{_KINDS}):)[\w.+~%*-]{{1,64}}:(?!//))"
    r"((?:[^\s\"<>;()\\]|\\.){1,256})(?=@[\w\[$])",
    re.IGNORECASE,
)
_DIGESTED = re.compile(r"((?<![\w.+-])[\w.+-]{1,64}#)([0-9a-f]{32,128})(?=@)", re.IGNORECASE)
# CLI commands that may carry a value; those of the header Command are looked at whatever they are.
_COMMAND_LIKE = re.compile(r"\s*\"?(?:database|dialplan|core|realtime)\b", re.IGNORECASE)
# What `database get`, `database query` and `dialplan eval function` print of what they were asked.
_ANSWERED = re.compile(r"(\s*(?:value|result)\s*:\s*)(\S.*)", re.IGNORECASE)
_KEY = re.compile(r"\s*key\s*:(.*)", re.IGNORECASE)
# `Global variable 'X' set to 'y'`, as `dialplan set global` answers.
_SET_TO = re.compile(r"(.*\bvariable '([^']*)' set to )(\S.*)", re.IGNORECASE)
# `/family/key : value`, as `database show` prints it; a key may hold anything.
_ENTRY = re.compile(r"(/.*?\s*: )(.*\S.*)")
#: Headers that name what others hold: the name's, and the values'. A number at the end belongs to all.
_PAIRED = (
    (re.compile(r"var(-\d+)"), ("value{}", "match{}")),
    (re.compile(r"variable()"), ("value",)),
    (re.compile(r"(?:key|family)()"), ("val",)),
)

# Unicode's categories of what takes no place of its own, or another than where it stands.
_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}
# Of other categories, but as empty: fillers, joiners, selectors of a variant, a Braille cell without dots.
_EMPTY = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

Pairs = list[tuple[str, str]]


def _has_word(text: str) -> bool:
    """Whether a word stands in it that says something is secret."""
    folded = text.casefold()  # as re.IGNORECASE compares: ſ is an s
    return any(core in folded for core in _CORES) and _HAS_WORD.search(text) is not None


def is_secret(name: str) -> bool:
    """Whether a header of this name holds a secret."""
    return _has_word(name) and _SENSITIVE_NAME.fullmatch(name.strip()) is not None


def headers_mask(headers: Iterable[tuple[str, str]], *, first_names: bool = False) -> Pairs:
    """The headers with every secret value replaced by `MASK`; names, order and number stay.

    Args:
        headers: pairs in order.
        first_names: let only the first header of a name say what another holds, as Asterisk reads them. For
            eyes each of them counts.
    """
    pairs = list(headers)
    named = _named_secret(pairs, first_names)
    return [(name, _header_mask(name.strip().lower(), value, named)) for name, value in pairs]


def _named_secret(pairs: Pairs, first_names: bool) -> set[str]:
    """The names, in small letters, of headers that hold a secret since another header says so."""
    named: set[str] = set()
    seen: set[str] = set()
    # In voicemail.conf a number names the mailbox whose password follows.
    mailboxes = any("filename" in name.lower() and "voicemail" in value.lower() for name, value in pairs)
    for name, value in pairs:
        bare = name.strip().lower()
        if first_names and bare in seen:
            continue
        seen.add(bare)
        for names, values in _PAIRED:
            if (match := names.fullmatch(bare)) and (
                _has_word(value) or (mailboxes and value.strip().isdecimal())
            ):
                named.update(form.format(match[1]) for form in values)
    return named


def _header_mask(name: str, value: str, named: set[str]) -> str:
    """What is shown of a header; its name in small letters."""
    if not value:
        return value
    if name in named or (is_secret(name) and not _harmless(name, value)):
        return MASK
    value = _login_mask(value)
    if name == "command" or _has_word(value):
        value = _value_mask(name, value)
    if name.startswith("line-") and (found := _MAILBOX.fullmatch(value)):
        return found[1] + MASK
    if name == "json":
        return _MAILBOX_JSON.sub(rf"\g<1>{MASK}", value)
    return value


def _harmless(name: str, value: str) -> bool:
    """Whether a name that may mean a secret is followed by what can't be one."""
    return not _HAS_STRONG.search(name) and _IS_HARMLESS.fullmatch(value) is not None


def _login_mask(value: str) -> str:
    """A value with the secrets masked that stand between a user and a host."""
    if "@" not in value:
        return value
    if found := _LOGIN.match(value):
        value = found[1] + MASK + value[found.end() :]
    value = _LOGIN_JSON.sub(rf"\g<1>{MASK}", value)
    value = _DIGESTED.sub(rf"\g<1>{MASK}", value)
    return _USERINFO.sub(rf"\g<1>{MASK}", value)


def _value_mask(name: str, value: str) -> str:
    """A value that is no secret itself, with the secrets that stand in it masked."""
    if name == "command" or _COMMAND_LIKE.match(value):
        value = _command_mask(value, whole=name == "command")
    if _JSON.search(value):
        return _JSON_WITHIN.sub(_json_mask, _JSON.sub(_json_mask, value))
    return _cut(value, _ASSIGNED)


def _json_mask(found: re.Match[str]) -> str:
    return found[0] if _harmless(found[2], found[3]) else found[1] + MASK


def _cut(text: str, tail: re.Pattern[str]) -> str:
    """The text with all masked that follows the first word which `tail` says has a value behind it."""
    for word in _HAS_WORD.finditer(text):
        if (found := tail.match(text, word.end())) and not _harmless(word[0], found[1]):
            return text[: found.start(1)] + MASK
    return text


def _command_mask(command: str, *, whole: bool) -> str:
    """A CLI command with the value masked that it gives to a name which says it is secret.

    Args:
        command: as it was written.
        whole: it is certainly one, so that any word of it may be such a name.
    """
    words = command_words(command)
    at = _value_at(words, whole)
    if at is None or at >= len(words):
        return command
    # Where its word begins: the shortest beginning of the command that has so many words ends there.
    end = bisect.bisect_left(
        range(len(command) + 1), at + 1, key=lambda length: len(command_words(command[:length]))
    )
    return command[: end - 1] + MASK


def _value_at(words: list[str], whole: bool) -> int | None:
    """Which word of a CLI command is the first of a secret value; None: none is."""
    lower = [word.lower() for word in words]
    if lower[:2] == ["database", "put"]:
        return 4 if any(_has_word(word) for word in words[2:4]) else None
    if lower[:1] in (["dialplan"], ["core"]) and lower[1:3] in (["set", "global"], ["set", "chanvar"]):
        at = 3 if lower[2] == "global" else 4
        return at + 1 if any(_has_word(word) for word in words[at : at + 1]) else None
    if whole or lower[:1] == ["realtime"]:
        return next((at for at, word in enumerate(words[1:], start=2) if is_secret(word)), None)
    return None


def output_mask(text: str, command: str = "") -> str:
    """The output of a CLI command with what follows `password :`, `secret=` and their like masked.

    Args:
        text: its lines.
        command: the command that printed them, if it is known: some print a value alone, and only the command
            says whose.
    """
    # `No such command '…'` has all of it.
    text = text.replace(command, _command_mask(command, whole=True)) if command else text
    words = command_words(command)
    named = asked = any(_has_word(word) for word in words[1:])
    alone = asked and [word.lower() for word in words[:2]] == ["database", "get"]
    lines = []
    column: slice | None = None
    below = False  # a value began above, and goes on
    for line in text.split("\n"):
        if not line.strip():
            column = None
        if column is not None and line[column].strip():
            width = len(line[column])
            line = line[: column.start] + MASK.ljust(width) + line[column.start + width :]
        if key := _KEY.fullmatch(line):
            asked = named or _has_word(key[1])
        if below:
            line = MASK if line.strip() else line
        elif asked and (value := _ANSWERED.fullmatch(line)):
            line = value[1] + MASK
            below = alone
        else:
            line = _login_mask(line)
            # Most lines hold no such word, and are not worth the dearer look.
            if _has_word(line):
                if heading := _HEADING.match(line):
                    column = slice(heading.start(1), heading.end() if heading.end() < len(line) else None)
                else:
                    line = _line_mask(line)
        lines.append(line)
    return "\n".join(lines)


def _line_mask(line: str) -> str:
    """A line of output in which a word says that something is secret."""
    if (entry := _ENTRY.fullmatch(line)) and _has_word(entry[1]):
        return entry[1] + MASK
    if (told := _SET_TO.fullmatch(line)) and _has_word(told[2]):
        return told[1] + MASK
    if named := _NAME_AND_VALUE.fullmatch(line):
        return named[1] + MASK
    return _cut(line, _PRINTED)


def secret_values(headers: Iterable[tuple[str, str]]) -> set[str]:
    """The values that `headers_mask` hides, to take them out of a traceback."""
    pairs = list(headers)
    hidden = set()
    for (_, value), (_, masked) in zip(pairs, headers_mask(pairs), strict=True):
        if value == masked:
            continue
        first, *shown = masked.split(MASK)
        begin = len(first)
        for number, part in enumerate(shown, start=1):
            last = number == len(shown)
            end = len(value) - len(part) if last else value.find(part, begin)
            hidden.add(value[begin:end])
            begin = end + len(part)
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


def visible(text: str) -> str:
    r"""The text with what nobody sees written out: `\x1b`, and `\u202e`, which shows the rest reversed.

    Control and format characters, and those that break lines or paragraphs; a line end stays one.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character == "\n" or not (unicodedata.category(character) in _UNSEEN or _EMPTY.match(character))
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def readable(text: str) -> str:
    """A sentence with words of a PBX in it, for a database and for eyes: `visible`, and `storable`."""
    return visible(storable(text))


def lines_visible(headers: Iterable[tuple[str, str]]) -> str:
    """Headers as lines for eyes; nothing in them passes for a line of its own, or for another order."""
    return "\n".join(readable(f"{name}: {value}").replace("\n", "\\n") for name, value in headers)


def storable_headers(headers: Iterable[tuple[str, str]]) -> Pairs:
    """`storable` for names and values."""
    return [(storable(name), storable(value)) for name, value in headers]
