"""How dangerous a request is, and whether it may be sent twice.

The class belongs to the request, not to the action's name: `Command: core show channels` looks, `Command:
core stop now` ends every call. What a header means is what Asterisk makes of it (main/manager.c, get_header):
names without regard to case, the first one that fits counts, blanks before a value are skipped.

The table below is the reviewed one of what Asterisk 16 to 22 bring. An action that isn't in it belongs to a
module that nobody here has read; its privileges say something about it, and where they say nothing it gets
the most careful class. Nothing in this file asks a database or a PBX.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import models

from ami_integration.access.commandline import Kind, command_kind
from ami_integration.access.dialplan import (
    PATTERN_TOO_DEAR,
    application_reaches_system,
    application_stays,
    assignment_reaches_system,
    assignment_stays,
    expression_reaches_system,
    recording_leaves_folder,
    recording_reaches_program,
    variables_reach_system,
    variables_stay,
)

Headers = Sequence[tuple[str, str]]


class Danger(models.TextChoices):
    """What a request can do at worst. They are ordered: `Danger.READ < Danger.SYSTEM`."""

    READ = "read", "Read"
    OPERATE = "operate", "Operate"
    ORIGINATE = "originate", "Originate"
    COMMAND = "command", "Command"
    CONFIG = "config", "Config"
    SYSTEM = "system", "System"

    @property
    def rank(self) -> int:
        """0 for the least dangerous."""
        return list(type(self)).index(self)

    def __lt__(self, other: Any) -> bool:
        return self.rank < type(self)(other).rank

    def __le__(self, other: Any) -> bool:
        return self.rank <= type(self)(other).rank

    def __gt__(self, other: Any) -> bool:
        return self.rank > type(self)(other).rank

    def __ge__(self, other: Any) -> bool:
        return self.rank >= type(self)(other).rank


#: What each class lets its holder do, for people.
DANGER_MEANS = {
    Danger.READ: "look: channels, queues, endpoints, states",
    Danger.OPERATE: "handle calls, queues, conferences and recordings as they run",
    Danger.ORIGINATE: "start calls and send messages",
    Danger.COMMAND: "run CLI commands that nothing more is known of",
    Danger.CONFIG: "change the configuration, and read what holds secrets",
    Danger.SYSTEM: "stop Asterisk, change its modules and its database, run programs on its machine",
}


@dataclass(frozen=True)
class Assessment:
    """What is known of a request: its class, whether it may be sent twice, and why (a clause for people)."""

    danger: Danger
    repeatable: bool
    why: str


def danger_of(action: str, headers: Headers, privileges: str | None = None) -> Danger:
    """The class of a request.

    Args:
        action: the action's name.
        headers: its headers in order, without Action and ActionID.
        privileges: what ListCommands prints for it ("system,reporting,all"); None: unknown.
    """
    return request_assess(action, headers, privileges).danger


def safe_to_repeat(action: str, headers: Headers, privileges: str | None = None) -> bool:
    """Whether sending it twice does nothing that sending it once doesn't. The arguments: `danger_of`."""
    return request_assess(action, headers, privileges).repeatable


def request_assess(action: str, headers: Headers, privileges: str | None = None) -> Assessment:
    """`danger_of` and `safe_to_repeat` at once, with the reason. The arguments: `danger_of`."""
    name = action_name(action)
    if "{" in (header_value(headers, _PATTERN_IN.get(name, "")) or ""):
        return Assessment(Danger.SYSTEM, False, PATTERN_TOO_DEAR)
    if name in _BY_HEADERS:
        return _BY_HEADERS[name](headers)
    if name in _TABLE:
        return _TABLE[name]
    return _by_privileges(name, privileges)


#: Headers that hold a regular expression. One with repetitions in repetitions takes all memory there is, and
#: the PBX with it.
_PATTERN_IN = {"hangup": "Channel", "filter": "Filter", "getconfig": "Filter", "getconfigjson": "Filter"}


#: Actions that belong to the session and outlive themselves in it.
_OF_THE_SESSION = frozenset(("challenge", "events", "filter", "login", "logoff", "waitevent"))


def changes_session(action: str) -> bool:
    """Whether the session that carried this action is no longer like any other: it gets fewer events, say."""
    return action_name(action) in _OF_THE_SESSION


def action_name(action: str) -> str:
    """The action that Asterisk finds by this name, in lower case: it skips what is below 33 before it."""
    return _skip_blanks(action).strip().lower()


def header_value(headers: Headers, name: str) -> str | None:
    """The value that Asterisk finds for a header: of the first that fits, without the blanks before it."""
    return next(iter(header_values(headers, name)), None)


def header_values(headers: Headers, name: str) -> list[str]:
    """The values of a header that may repeat, as `Variable`."""
    prefix = f"{name.lower()}:"
    lines = (f"{key}:{value}" for key, value in headers)
    return [_skip_blanks(line[len(prefix) :]) for line in lines if line.lower().startswith(prefix)]


def _skip_blanks(text: str) -> str:
    return text.lstrip("".join(map(chr, range(1, 33))))  # as ast_skip_blanks(): whatever is below 33


# The reviewed table. Each set has one class; "!" marks what may be sent twice though it isn't a plain look.

#: Looks, changes nothing, tells no secret.
_READ = """
    Agents BridgeInfo BridgeList BridgeTechnologyList ConfbridgeList ConfbridgeListRooms CoreSettings
    CoreShowChannelMap CoreShowChannels CoreStatus DAHDIShowChannels DAHDIShowStatus DeviceStateList
    ExtensionState ExtensionStateList FAXSession FAXSessions FAXStats IAXnetstats IAXpeerlist IAXpeers
    IAXregistry ListCommands MailboxCount MailboxStatus MeetmeList MeetmeListRooms ModuleCheck MWIGet
    ParkedCalls Parkinglots Ping PJSIPShowAors PJSIPShowContacts PJSIPShowEndpoints PJSIPShowMaintenance
    PJSIPShowRegistrationInboundContactStatuses PJSIPShowRegistrationsInbound PJSIPShowResourceLists
    PJSIPShowSubscriptionsInbound PJSIPShowSubscriptionsOutbound PresenceState PresenceStateList
    PRIShowSpans QueueRule QueueStatus Queues QueueSummary ShowDialPlan SIPpeers SIPpeerstatus SIPshowpeer
    SIPshowregistry SKINNYdevices SKINNYlines SKINNYshowdevice SKINNYshowline VoicemailBoxSummary
    VoicemailUsersList VoicemailUserStatus
"""
#: Calls, queues, conferences as they run; a restart of Asterisk forgets it.
_OPERATE = """
    AbsoluteTimeout AgentLogoff AOCMessage Atxfer BlindTransfer Bridge BridgeDestroy BridgeKick
    CancelAtxfer Challenge ConfbridgeKick ConfbridgeLock ConfbridgeMute ConfbridgeSetSingleVideoSrc
    ConfbridgeStopRecord ConfbridgeUnlock ConfbridgeUnmute ControlPlayback DAHDIDialOffhook DAHDIDNDoff
    DAHDIDNDon DAHDIHangup DAHDITransfer Events Filter Hangup LocalOptimizeAway LoggerRotate Login Logoff
    MeetmeMute MeetmeUnmute MixMonitorMute MuteAudio Park PauseMonitor PJSIPHangup
    PJSIPQualify PJSIPRegister PJSIPSetMaintenance PJSIPUnregister PlayDTMF PlayMF QueueAdd
    QueueChangePriorityCaller QueueLog QueueMemberRingInUse QueuePause QueuePenalty QueueRemove QueueReset
    QueueWithdrawCaller Redirect SendFlash SendText SIPqualifypeer StopMixMonitor StopMonitor
    UnpauseMonitor UserEvent VoicemailRefresh WaitEvent
"""
#: Goes out to people, and may cost money.
_ORIGINATE = "JabberSend MessageSend"
#: Changes what stays; or reads what holds secrets, and then it may be sent twice (!).
_CONFIG = """
    BridgeTechnologySuspend BridgeTechnologyUnsuspend !DBGet !DBGetTree MWIDelete MWIUpdate PJSIPNotify
    !PJSIPShowAuths !PJSIPShowEndpoint !PJSIPShowRegistrationsOutbound QueueReload SIPnotify
    SorceryMemoryCacheExpire SorceryMemoryCacheExpireObject SorceryMemoryCachePopulate
    SorceryMemoryCacheStale SorceryMemoryCacheStaleObject VoicemailForward VoicemailMove VoicemailRemove
"""
#: Modules, the database, the dialplan, programs.
_SYSTEM = """
    AGI DAHDIRestart DBDel DBDelTree DBPut DialplanExtensionAdd DialplanExtensionRemove ModuleLoad
    PRIDebugFileSet PRIDebugFileUnset PRIDebugSet Reload
"""

_WHY = {
    Danger.READ: "it only looks",
    Danger.OPERATE: "it changes calls, queues or conferences as they run",
    Danger.ORIGINATE: "it reaches people outside",
    Danger.CONFIG: "it changes what stays, or reads what holds secrets",
    Danger.SYSTEM: "it reaches modules, the database, the dialplan or programs of the PBX",
}


def _table() -> dict[str, Assessment]:
    table = {}
    for danger, names in (
        (Danger.READ, _READ),
        (Danger.OPERATE, _OPERATE),
        (Danger.ORIGINATE, _ORIGINATE),
        (Danger.CONFIG, _CONFIG),
        (Danger.SYSTEM, _SYSTEM),
    ):
        for word in names.split():
            repeatable = danger is Danger.READ or word.startswith("!")
            table[word.lstrip("!").lower()] = Assessment(danger, repeatable, _WHY[danger])
    return table


_TABLE = _table()


# What depends on the headers


def _command(headers: Headers) -> Assessment:
    kind, why = command_kind(header_value(headers, "Command") or "")
    danger = {
        Kind.READ: Danger.READ,
        Kind.SECRETS: Danger.CONFIG,
        Kind.COMMAND: Danger.COMMAND,
        Kind.CONFIG: Danger.CONFIG,
        Kind.SYSTEM: Danger.SYSTEM,
    }[kind]
    return Assessment(danger, kind in (Kind.READ, Kind.SECRETS), why)


#: Headers of an Originate that go into the dialplan with what they hold.
_EVALUATED = ("Channel", "Exten", "Context", "PreDialGoSub")


def _originate(headers: Headers) -> Assessment:
    application = header_value(headers, "Application") or ""
    data = header_value(headers, "Data") or ""
    why = application_reaches_system(application, data) or variables_reach_system(
        header_values(headers, "Variable")
    )
    for name in _EVALUATED:
        value = header_value(headers, name) or ""
        why = why or expression_reaches_system(value, evaluated="${" in value)
    if why:
        return Assessment(Danger.SYSTEM, False, why)
    if why := application_stays(application, data) or variables_stay(header_values(headers, "Variable")):
        return Assessment(Danger.CONFIG, False, why)
    return Assessment(Danger.ORIGINATE, False, "it starts a call")


def _getvar(headers: Headers) -> Assessment:
    why = expression_reaches_system(header_value(headers, "Variable") or "")
    if why:
        return Assessment(Danger.SYSTEM, False, why)
    return Assessment(Danger.READ, True, "it reads a variable")


def _status(headers: Headers) -> Assessment:
    why = expression_reaches_system(header_value(headers, "Variables") or "")
    if why:
        return Assessment(Danger.SYSTEM, False, f"it asks for Variables, and {why}")
    return Assessment(Danger.READ, True, _WHY[Danger.READ])


def _setvar(headers: Headers) -> Assessment:
    variable, value = header_value(headers, "Variable") or "", header_value(headers, "Value") or ""
    why = assignment_reaches_system(variable, value)
    if why:
        return Assessment(Danger.SYSTEM, False, why)
    if not header_value(headers, "Channel"):
        return Assessment(Danger.CONFIG, False, "without a channel it sets a global variable")
    if why := assignment_stays(variable, value):
        return Assessment(Danger.CONFIG, False, why)
    return Assessment(Danger.OPERATE, False, "it sets a variable of a channel")


def _update_config(headers: Headers) -> Assessment:
    for header in ("DstFilename", "SrcFilename"):
        file = (header_value(headers, header) or "").strip().lower()
        if "/" in file or _POWERFUL_FILES.fullmatch(file):
            return Assessment(
                Danger.SYSTEM, False, f"{file} decides who may log in, what is loaded or which programs run"
            )
    for name, value in headers:
        if not _PART_OF_CHANGE.match(name):
            continue
        if value.strip().startswith("#"):
            return Assessment(
                Danger.SYSTEM, False, "a line that begins with # includes files, or runs programs"
            )
        # What set_var= of an endpoint says is done with every call; say.conf and dundi.conf are evaluated.
        if why := expression_reaches_system(value, evaluated="${" in value):
            return Assessment(Danger.SYSTEM, False, f"of what it writes, {why}")
    return Assessment(Danger.CONFIG, False, "it changes a configuration file")


#: Who writes one of these can give itself every right that it lacks: they say who may log in, what is loaded,
#: or which programs run. (logger.conf: exec_after_rotate; calendar.conf: app; cdr_custom.conf and its like
#: evaluate what they hold with each call.)
_POWERFUL_FILES = re.compile(
    r"(?:manager|users|asterisk|modules|http|ari|cli|cli_aliases|cli_permissions|extconfig|sorcery|func_odbc"
    r"|res_odbc|res_pgsql|res_config\w*|res_ldap|voicemail|minivm|confbridge|features|musiconhold"
    r"|alarmreceiver|festival|logger|calendar|phoneprov|(?:cdr|cel)(?:_\w+)?)(?:\.conf)?"
    r"|extensions.*|.*\.(?:ael|lua)"
)
#: Headers whose values go into the file.
_PART_OF_CHANGE = re.compile(r"(?:cat|var|value|match|options)-", re.IGNORECASE)


def _config_file(headers: Headers) -> Assessment:
    """Reading or making a configuration file: one of Asterisk's own folder, or any."""
    if re.search(r"/|\.\.", header_value(headers, "Filename") or ""):
        return Assessment(Danger.SYSTEM, False, "it names a file outside the folder of the configuration")
    return Assessment(Danger.CONFIG, True, _WHY[Danger.CONFIG])


def _create_config(headers: Headers) -> Assessment:
    return dataclasses.replace(_config_file(headers), repeatable=False)


def _recording(headers: Headers) -> Assessment:
    """Recordings: into the folder for them, or anywhere; and a program may be named to run at their end."""
    if header_value(headers, "Command"):
        return Assessment(Danger.SYSTEM, False, "Command names a program of the PBX that runs at the end")
    texts = [header_value(headers, name) or "" for name in ("File", "RecordFile", "Format", "Options")]
    if any(recording_reaches_program(text) for text in texts):
        return Assessment(Danger.SYSTEM, False, "what it calls a file may hold a program of the PBX, too")
    if any(recording_leaves_folder(text) for text in texts):
        return Assessment(Danger.CONFIG, False, "it may write a file outside the folder of recordings")
    return Assessment(Danger.OPERATE, False, "it records a call")


_BY_HEADERS: dict[str, Callable[[Headers], Assessment]] = {
    "command": _command,
    "originate": _originate,
    "getvar": _getvar,
    "setvar": _setvar,
    "status": _status,
    "updateconfig": _update_config,
    "getconfig": _config_file,
    "getconfigjson": _config_file,
    "listcategories": _config_file,
    "createconfig": _create_config,
    "monitor": _recording,
    "changemonitor": _recording,
    "mixmonitor": _recording,
    "confbridgestartrecord": _recording,
}

#: Every action that has been read here, in lower case.
REVIEWED = frozenset(_TABLE) | frozenset(_BY_HEADERS)


# What nobody has read

_CLASSES = {
    "reporting": Danger.READ,
    "cdr": Danger.READ,
    "call": Danger.OPERATE,
    "agent": Danger.OPERATE,
    "user": Danger.OPERATE,
    "log": Danger.OPERATE,
    "verbose": Danger.OPERATE,
    "dtmf": Danger.OPERATE,
    "cc": Danger.OPERATE,
    "aoc": Danger.OPERATE,
    "message": Danger.ORIGINATE,
    "originate": Danger.ORIGINATE,
    "command": Danger.COMMAND,
    "config": Danger.CONFIG,
    "dialplan": Danger.CONFIG,
}
_LOOKS = re.compile(r".*(?:show|list|status|summary|info)\w{0,12}")


def _by_privileges(name: str, privileges: str | None) -> Assessment:
    """An action that isn't in the table: an account with any one of its privileges may run it."""
    classes = {word.strip().lower() for word in (privileges or "").split(",")} - {"", "all", "<none>"}
    if not classes:
        return Assessment(Danger.SYSTEM, False, "nothing is known of this action")
    if "reporting" in classes and _LOOKS.fullmatch(name):
        return Assessment(Danger.READ, False, "its name and its privilege reporting say that it only looks")
    worst = max(_CLASSES.get(word, Danger.SYSTEM) for word in classes)
    if worst is Danger.READ and not _LOOKS.fullmatch(name):
        worst = Danger.OPERATE
    return Assessment(worst, False, f"it isn't a well-known action; its privileges are {privileges}")
