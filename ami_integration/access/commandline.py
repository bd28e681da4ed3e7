"""What a CLI command does, by the words that it begins with.

The words are found as Asterisk finds them (main/cli.c, parse_args and word_match): blanks part them, quotes
and backslashes vanish, case doesn't count, nothing can be abbreviated. So `"DATABASE"  show` is `database
show` here too.
"""

import enum

from ami_integration.access.dialplan import (
    PATTERN_TOO_DEAR,
    application_reaches_system,
    application_stays,
    assignment_reaches_system,
    assignment_stays,
    expression_reaches_system,
)


class Kind(enum.Enum):
    """What a CLI command does. SECRETS looks, and may see secrets; COMMAND: nobody knows."""

    READ = enum.auto()
    SECRETS = enum.auto()
    COMMAND = enum.auto()
    CONFIG = enum.auto()
    SYSTEM = enum.auto()


def command_words(command: str) -> list[str]:
    """The words of a CLI command as Asterisk takes them, case and all."""
    words: list[str] = []
    between, quoted, escaped = True, False, False
    for character in command.strip(" \t\r\n"):
        if character == '"' and not escaped:
            quoted = not quoted
            if quoted and between:
                words.append("")
                between = False
        elif character in " \t" and not quoted and not escaped:
            between = True
        elif character == "\\" and not escaped:
            escaped = True
        else:
            if between:
                words.append("")
                between = False
            words[-1] += character
            escaped = False
    return words


def command_kind(command: str) -> tuple[Kind, str]:
    """What a command does, and why (a clause for people)."""
    words = command_words(command)
    lower = [word.lower() for word in words]
    if not words:
        return Kind.COMMAND, "it names no CLI command"
    if lower[0].startswith("!"):
        return Kind.SYSTEM, "it runs a program of the PBX"
    if why := _evaluates(words, lower):
        return Kind.SYSTEM, why
    if why := _stays(words, lower):
        return Kind.CONFIG, why
    if "like" in lower and "{" in command:
        return Kind.SYSTEM, PATTERN_TOO_DEAR
    for length in range(min(len(lower), _LONGEST), 0, -1):
        prefix = " ".join(lower[:length])
        if prefix in _PREFIXES:
            kind = _PREFIXES[prefix]
            return kind, f"“{prefix}” {_SAYS[kind]}"
    if len(lower) > 1 and lower[1] == "show":
        return Kind.READ, f"“{lower[0]} show” only looks"
    if "reload" in lower[1:2]:
        return Kind.CONFIG, f"“{lower[0]} reload” puts a changed configuration into effect"
    return Kind.COMMAND, "nothing more is known of this CLI command"


_SAYS = {
    Kind.READ: "only looks",
    Kind.SECRETS: "may print secrets",
    Kind.COMMAND: "changes something of running calls",
    Kind.CONFIG: "changes what stays",
    Kind.SYSTEM: "reaches modules, the database, the dialplan, files, programs, or ends calls",
}


def _evaluates(words: list[str], lower: list[str]) -> str:
    """Why a command that takes dialplan expressions reaches the system; "" if it doesn't."""
    if lower[:2] == ["channel", "originate"] or lower[:1] == ["originate"]:
        rest = words[2:] if lower[0] == "channel" else words[1:]
        if len(rest) > 1 and rest[1].lower() == "application":
            return application_reaches_system(rest[2] if len(rest) > 2 else "", " ".join(rest[3:]), True)
    if lower[:1] in (["dialplan"], ["core"]) and lower[1:3] in (["set", "chanvar"], ["set", "global"]):
        rest = words[4:] if lower[2] == "chanvar" else words[3:]
        return assignment_reaches_system(rest[0] if rest else "", " ".join(rest[1:]))
    if lower[:3] == ["confbridge", "record", "start"] and any("," in word for word in words):
        return "what it calls a file may hold a program of the PBX, too"
    if lower[:3] == ["pjsip", "set", "logger"] and "pcap" in lower:
        return "it writes a file where it likes"
    return expression_reaches_system(" ".join(words)) if "${" in "".join(words) else ""


def _stays(words: list[str], lower: list[str]) -> str:
    """Why a command that sets a variable changes what stays; "" if it doesn't."""
    if lower[:3] in (["dialplan", "set", "global"], ["core", "set", "global"]):
        return "it sets a global variable"
    if lower[:3] in (["dialplan", "set", "chanvar"], ["core", "set", "chanvar"]):
        return assignment_stays(words[4] if len(words) > 4 else "", " ".join(words[5:]))
    if lower[:2] == ["channel", "originate"] and lower[3:4] == ["application"]:
        return application_stays(words[4] if len(words) > 4 else "", " ".join(words[5:]))
    return ""


# The longest prefix that fits decides; what isn't here is read with "show" as its second word, else unknown.
_READ = """
    bridge technology show
    channeltype list
    confbridge list
    core ping
    devstate list
    help
    meetme list
    minivm list
    mixmonitor list
    media cache show
    mwi list
    pjsip list
    presencestate list
    sorcery memory cache show
    stasis statistics show
"""
#: Some of them print them to everybody, some only when the PBX is set up in a certain way.
_SECRETS = """
    ari show outbound-websocket
    config list
    config show
    confbridge show profile user
    core show config
    core show globals
    database get
    database show
    dundi lookup
    dundi query
    dundi show cache
    dundi show mappings
    database showkey
    dialplan show globals
    iax2 show provisioning
    iax2 show user
    iax2 show users
    manager show eventq
    pjsip show auth
    pjsip show auths
    pjsip show history
    pjsip show transport
    realtime load
    rtp show settings
    sip show history
    sip show user
    sip show users
    sorcery memory cache dump
"""
_CONFIG = """
    bridge technology suspend
    bridge technology unsuspend
    config reload
    devstate change
    iax2 provision
    keys init
    logger add channel
    logger remove channel
    pjsip notify
    presencestate change
    realtime destroy
    realtime store
    realtime update
    realtime update2
    sip notify
    sorcery memory cache expire
    sorcery memory cache populate
    sorcery memory cache stale
    voicemail forward
    voicemail move
    voicemail reload
    voicemail remove
"""
_SYSTEM = """
    agi dump
    agi exec
    core abort
    core reload
    core restart
    core stop
    database del
    database deltree
    database put
    database query
    dialplan add
    dialplan eval
    dialplan remove
    dialplan save
    file convert
    load
    media cache
    mixmonitor start
    module
    odbc read
    odbc write
    pjsip export
    reload
    restart
    stop
    test execute
    test generate
    ulimit
    unload
    xmldoc dump
"""


def _prefixes() -> dict[str, Kind]:
    table: dict[str, Kind] = {}
    for kind, text in (
        (Kind.READ, f"{_READ}\nmodule show"),
        (Kind.SECRETS, _SECRETS),
        (Kind.CONFIG, _CONFIG),
        (Kind.SYSTEM, _SYSTEM),
    ):
        table |= {line.strip(): kind for line in text.splitlines() if line.strip()}
    return table


_PREFIXES = _prefixes()
_LONGEST = max(len(prefix.split()) for prefix in _PREFIXES)
