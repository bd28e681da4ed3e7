"""Which applications, functions and variables of the dialplan reach the machine under Asterisk.

Asterisk itself refuses an Originate of System and its like without the privilege `system` (main/manager.c),
by a list of what is known to be bad, which has grown with each advisory. Here it is the other way round: what
is known to be harmless passes, anything else counts as reaching the system.

All functions answer with a clause for people, or "" when nothing of that kind is reached.
"""

import re
from collections.abc import Callable

#: Applications that talk, wait, ring and connect.
_HARMLESS_APPLICATIONS = """
    answer background backgrounddetect bridge bridgewait busy confbridge congestion dial echo endwhile
    followme gosub goto hangup incomplete log meetme milliwatt morsecode musiconhold noop page park
    parkandannounce parkedcall pickup playback playtones proceeding progress queue read retrydial ringing
    sayalpha saycountednoun saydigits sayinternational saynumber sayphonetic sayunixtime senddtmf senddigits
    set mset startmusiconhold stasis stopmusiconhold stopplaytones verbose voicemail wait waitdigit waitexten
    waitforring waitforsilence waitmusiconhold waituntil
"""

#: Functions that compute, and that read or set what belongs to the call. Not those that take the name of a
#: variable: CUT and its like evaluate it. Nor those that take a regular expression (see `PATTERN_TOO_DEAR`),
#: as CHANNELS does. To write to two of them is another matter (`assignment_stays`).
_HARMLESS_FUNCTIONS = """
    agc base64_decode base64_encode callerid callerpres cdr channel confbridge_channels
    confbridge_info connectedline csv_quote denoise device_state dialedpeernumber dialplan_exists exists
    extension_state filter group group_count group_list hint if iftime isnull jitterbuffer keypadhash len
    ltrim math max md5 meetme_info min mutechannel pjsip_header pjsip_response_header presence_state
    queue_exists queue_get_channel queue_member queue_member_count queue_member_list queue_member_penalty
    queue_variables queue_waiting_count quote rand redirecting rtrim sha1 sip_header sprintf strftime
    strptime talk_detect timeout tolower toupper transfer_data trim uridecode uriencode valid_exten version
    volume
"""
#: Why a regular expression isn't harmless.
PATTERN_TOO_DEAR = "its pattern has repetitions, which may take all memory of the PBX"

_APPLICATIONS = frozenset(_HARMLESS_APPLICATIONS.split())
_FUNCTIONS = frozenset(_HARMLESS_FUNCTIONS.split())

# All bounded: values come from strangers before anybody has measured them.

#: Words that reach the system where they stand before a parenthesis, evaluated now or by the dialplan later.
_BAD_CALL = re.compile(
    r"(?:shell|eval|curl|system|exec|agi|env|file|db|odbc|sql|realtime|ast_config|ldap|externalivr|mixmonitor"
    r"|originate)\w{0,40}\s{0,20}\(",
    re.IGNORECASE,
)
#: A sound may be fetched from a URL, by Asterisk's media cache, that is: Curl.
_URL = re.compile(r"https?:", re.IGNORECASE)
#: As Asterisk's own check, which looks for the bare words.
_BAD_WORD = re.compile(r"SHELL|EVAL")
_CALL = re.compile(r"(\}?)([^\s(){}\[\]$,=&|!<>+*/%:?;\"'-]{0,80})\s{0,20}\(")
_BUILT_NAME = re.compile(r"\$\{[^(}]*\$\{")
#: Variables whose value Asterisk runs.
_BAD_VARIABLE = re.compile(r"_*(?:(?:mix)?monitor_exec(?:_args)?|meetme_agi_background)", re.IGNORECASE)
#: An expression may hold a pattern: `$[x =~ (x{9}){9}]`. Behind a dollar the brace is a variable's.
_PATTERN = re.compile(r"(?<![$^])\{")
#: Variables of which Asterisk makes the name and the arguments of a recording (app_queue, app_meetme, the
#: features automon and automixmon): MixMonitor's third argument is a program.
_RECORDING_VARIABLE = re.compile(
    r"_*(?:monitor_(?:filename|options)|touch_(?:mix)?monitor\w{0,40}|meetme_recording(?:file|format))",
    re.IGNORECASE,
)
#: A comma in a file's name is where the next argument of MixMonitor begins, the third being a program; the
#: others are for the shell that mixes a recording of Monitor.
_BEYOND_A_NAME = re.compile(r"""[,"'`;$|&<>\\]""")
#: Functions whose values lie in Asterisk's own database and outlive its restart (func_devstate,
#: func_presencestate).
_STAYS = re.compile(r"(?:device|presence)_state\s{0,20}\(", re.IGNORECASE)
#: Which argument of Queue names an AGI script, counted from 0.
_QUEUE_AGI = 5
#: What keeps a comma from parting two arguments (main/app.c, __ast_app_separate_args).
_HOLDS_TOGETHER = re.compile(r"""["\\()\[\]]""")


def application_reaches_system(application: str, data: str, command: bool = False) -> str:
    """Why an application with its data reaches the system.

    Args:
        application: its name; "" for none (then the data is never used by Asterisk, and still looked at).
        data: its arguments.
        command: it comes from the CLI, where an application has to be named.
    """
    name = application.strip().lower()
    if (name or command) and name not in _APPLICATIONS:
        return f"the application {application.strip() or 'that it leaves open'} isn't known to be harmless"
    if name in ("set", "mset"):
        for part in _pieces(data) if name == "mset" else [data]:
            variable, _, value = part.partition("=")
            if why := assignment_reaches_system(variable, value):
                return why
    if name == "read" and (why := assignment_reaches_system(data.partition(",")[0], "")):
        return why
    arguments = data.split(",") if name == "queue" else []
    if len(arguments) > _QUEUE_AGI and (arguments[_QUEUE_AGI].strip() or _HOLDS_TOGETHER.search(data)):
        return "Queue is told to run an AGI script"
    if _URL.search(_plain(data)):
        return "it has Asterisk fetch something from a URL"
    return expression_reaches_system(data, evaluated="${" in data)


def application_stays(application: str, data: str) -> str:
    """Why an application that sets something, Set or MSet, changes what stays."""
    if application.strip().lower() not in ("set", "mset"):
        return ""
    return variables_stay([data])


def variables_stay(values: list[str]) -> str:
    """Why one of the headers `Variable: NAME=value` changes what stays."""
    return _first_reason(assignment_stays, values)


def _first_reason(judge: Callable[[str, str], str], values: list[str]) -> str:
    """The first reason that `judge` has against one of the assignments in these headers; empty: none."""
    for value in values:
        for piece in _pieces(value):
            name, _, content = piece.partition("=")
            if why := judge(name, content):
                return why
    return ""


def assignment_stays(variable: str, value: str) -> str:
    """Why setting this variable, or writing to this function, changes what stays, and reaches no program."""
    name = _plain(variable).strip()
    if _STAYS.match(name):
        return f"what {name.partition('(')[0].upper()} is set to outlives a restart"
    if _RECORDING_VARIABLE.fullmatch(name) and recording_leaves_folder(value):
        return f"{name} may have a file written outside the folder of recordings"
    return ""


def recording_reaches_program(text: str) -> bool:
    """Whether a recording's name, format or options may hold a program of the PBX, too."""
    return bool(_BEYOND_A_NAME.search(text) or expression_reaches_system(text, evaluated=False))


def recording_leaves_folder(text: str) -> bool:
    """Whether a recording's name or options may name a file outside the folder of recordings."""
    return "/" in text or ".." in text


def variables_reach_system(values: list[str]) -> str:
    """Why one of the headers `Variable: NAME=value` reaches the system. One header may hold several."""
    return _first_reason(assignment_reaches_system, values)


def assignment_reaches_system(variable: str, value: str) -> str:
    """Why setting this variable, or writing to this function, reaches the system."""
    name = _plain(variable).strip()
    if _BAD_VARIABLE.fullmatch(name):
        return f"Asterisk runs the value of {name} as a program"
    if "${" in name:
        return "it builds the name of what it sets"
    if _RECORDING_VARIABLE.fullmatch(name) and recording_reaches_program(value):
        return f"Asterisk makes a recording's arguments of {name}, and one of them is a program"
    # "^{" becomes "${" where a queue begins to record: MONITOR_FILENAME and its like.
    evaluated = "${" in value or "^{" in value
    return expression_reaches_system(variable) or expression_reaches_system(value, evaluated=evaluated)


def expression_reaches_system(text: str, *, evaluated: bool = True) -> str:
    """Why an expression, or the name of a variable or function, reaches the system.

    Args:
        evaluated: Asterisk evaluates it at once. If not, only what is known to be bad counts.
    """
    for form in {text, _plain(text)}:  # Asterisk takes quotes and backslashes away on the way
        if bad := _BAD_CALL.search(form):
            return f"it calls {bad[0].rstrip('( ')}, which reaches files, programs or other machines"
        if bad := _BAD_WORD.search(form):
            return f"it names {bad[0]}, as Asterisk itself refuses without the privilege system"
        if "$[" in form and _PATTERN.search(form):
            return PATTERN_TOO_DEAR
        if not evaluated:
            continue
        if _BUILT_NAME.search(form):
            return "it builds the name of what it evaluates"
        for built, name in _CALL.findall(form):
            if built:
                return "it builds the name of what it evaluates"
            if name and name.lower() not in _FUNCTIONS and not _is_option(form, name):
                return f"the function {name} isn't known to be harmless"
    return ""


def _is_option(text: str, name: str) -> bool:
    """Whether this is an option with an argument, as in Dial's `L(60000)`, and not a function."""
    return len(name) <= 3 and f"${{{name}" not in text and not text.lstrip().startswith(name)


def _plain(text: str) -> str:
    return text.replace('"', "").replace("\\", "")


def _pieces(text: str) -> list[str]:
    """A header `Variable` and all that Asterisk could cut it into: rather too many pieces than too few."""
    return [text, *_plain(text).split(",")]
