"""The class of requests, one line each. One classed too low is a hole: read before you lower one."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.access.danger import (
    REVIEWED,
    Danger,
    danger_of,
    header_value,
    header_values,
    request_assess,
    safe_to_repeat,
)

READ, OPERATE, ORIGINATE, COMMAND, CONFIG, SYSTEM = Danger

CAPTURES = Path(__file__).parents[1] / "captures"

ACTIONS = [
    ("Ping", READ),
    ("CoreStatus", READ),
    ("CoreShowChannels", READ),
    ("QueueStatus", READ),
    ("PJSIPShowEndpoints", READ),
    ("ConfbridgeList", READ),
    ("ListCommands", READ),
    ("  ping ", READ),
    ("QUEUESTATUS", READ),
    ("QueueAdd", OPERATE),
    ("QueuePause", OPERATE),
    ("QueueRemove", OPERATE),
    ("Hangup", OPERATE),
    ("Redirect", OPERATE),
    ("ConfbridgeKick", OPERATE),
    ("UserEvent", OPERATE),
    ("WaitEvent", OPERATE),  # it looks, but it takes what others wait for
    ("MessageSend", ORIGINATE),
    ("GetConfig", CONFIG),
    ("DBGet", CONFIG),
    ("PJSIPShowAuths", CONFIG),
    ("PJSIPShowEndpoint", CONFIG),  # with the password of its auth
    ("PJSIPShowRegistrationsOutbound", CONFIG),
    ("CreateConfig", CONFIG),
    ("QueueReload", CONFIG),
    ("MWIUpdate", CONFIG),  # kept in Asterisk's own database
    ("VoicemailRemove", CONFIG),  # for ever
    ("VoicemailForward", CONFIG),
    ("DBPut", SYSTEM),
    ("DBDel", SYSTEM),
    ("DBDelTree", SYSTEM),
    ("ModuleLoad", SYSTEM),
    ("Reload", SYSTEM),
    ("AGI", SYSTEM),
    ("DialplanExtensionAdd", SYSTEM),
    ("", SYSTEM),
    ("NobodyKnowsThis", SYSTEM),
]

COMMANDS = [
    ("core show channels", READ),
    ("  core   SHOW\tchannels ", READ),
    ("queue show", READ),
    ("pjsip show endpoints", READ),
    ("dialplan show", READ),
    ("module show like pjsip", READ),
    ("sorcery memory cache show x", READ),
    ("confbridge list", READ),
    ("pjsip show auth 100", CONFIG),
    ("pjsip show auths", CONFIG),
    ("database show", CONFIG),
    ("database get cidname 100", CONFIG),
    ('"database" show', CONFIG),
    ("data\\base show", CONFIG),
    ("DATABASE show", CONFIG),
    ("config show help", CONFIG),
    ("sip show users", CONFIG),
    ("iax2 show users", CONFIG),
    ("dialplan show globals", CONFIG),
    ("confbridge show profile user default", CONFIG),
    ("realtime load sippeers name 100", CONFIG),
    ("dialplan reload", CONFIG),
    ("pjsip reload", CONFIG),
    ("core stop now", SYSTEM),
    ("core restart gracefully", SYSTEM),
    ("core abort shutdown", SYSTEM),
    ("module unload chan_pjsip.so", SYSTEM),
    ("module reload", SYSTEM),
    ("dialplan remove extension 100@office", SYSTEM),
    ("dialplan add extension 1,1,System(id) into office", SYSTEM),
    ("dialplan eval function SHELL(id)", SYSTEM),
    ("database del cidname 100", SYSTEM),
    ("database deltree cidname", SYSTEM),
    ("database query .dump", SYSTEM),
    ("channel originate Local/1@x application System id", SYSTEM),
    ("channel originate Local/1@x application", SYSTEM),
    ("dialplan set chanvar PJSIP/1-1 SHELL(id) x", SYSTEM),
    ("dialplan set global MONITOR_EXEC rm", SYSTEM),
    ("core set chanvar PJSIP/1-1 FILE(/etc/passwd) x", SYSTEM),
    ("agi exec PJSIP/1-1 EXEC System id", SYSTEM),
    ("!id", SYSTEM),
    ("reload", SYSTEM),
    ("mixmonitor start PJSIP/1-1 x.wav,,id", SYSTEM),
    ("mixmonitor list PJSIP/1-1", READ),
    ("confbridge record start 1 x.wav,,id", SYSTEM),
    ("confbridge record start 1 x.wav", COMMAND),
    ("file convert a.gsm /etc/cron.d/x", SYSTEM),
    ("media cache create http://x/y /tmp/z", SYSTEM),
    ("media cache show all", READ),
    ("pjsip set logger pcap /etc/x", SYSTEM),
    ("pjsip set logger on", COMMAND),
    ("pjsip show transport tls", CONFIG),
    ("pjsip show transports", READ),
    ("iax2 show provisioning", CONFIG),
    ("logger add channel /tmp/x debug", CONFIG),
    ("channel request hangup all", COMMAND),
    ("channel originate Local/1@x application Playback demo", COMMAND),
    ("dialplan set global GREETING hello", CONFIG),  # as Setvar without a channel
    ("queue pause member PJSIP/1 show", COMMAND),
    ("core set verbose 5", COMMAND),
    # What lies in Asterisk's own database, or in files, outlives a restart.
    ("devstate change Custom:lamp BUSY", CONFIG),
    ("devstate list", READ),
    ("presencestate change CustomPresence:ada away", CONFIG),
    ("dialplan set chanvar PJSIP/1-1 DEVICE_STATE(Custom:lamp) BUSY", CONFIG),
    ("dialplan set chanvar PJSIP/1-1 X 1", COMMAND),
    ("channel originate Local/1@x application Set PRESENCE_STATE(CustomPresence:a)=away", CONFIG),
    ("voicemail remove 100 default INBOX 1", CONFIG),
    ("pjsip notify reboot endpoint 100", CONFIG),
    ("bridge technology suspend softmix", CONFIG),
    ("sorcery memory cache stale x", CONFIG),
    ("dialplan save", SYSTEM),
    ("core reload", SYSTEM),
    ("test generate results xml /tmp/x", SYSTEM),
    ("ulimit core 0", SYSTEM),
    ("dundi lookup 100@x", CONFIG),  # answers with dial strings, secrets in them
    ("dundi show peers", READ),
    ("dialplan set chanvar PJSIP/1-1 MONITOR_OPTIONS b,id", SYSTEM),
    ("show", COMMAND),
    ("some module nobody knows", COMMAND),
    # A pattern may take all memory of the PBX: glibc's regcomp() unrolls repetitions.
    ("pjsip show endpoints like ^1", READ),
    ("pjsip show endpoints like (((x{1,99}){1,99}){1,99})", SYSTEM),
    ("", COMMAND),
]

HEADERS = [
    ("Originate", [("Channel", "PJSIP/1"), ("Context", "office"), ("Exten", "100")], ORIGINATE),
    ("Originate", [("Application", "Playback"), ("Data", "demo-congrats")], ORIGINATE),
    ("Originate", [("Application", "Dial"), ("Data", "PJSIP/2,30,L(60000:10000)tT")], ORIGINATE),
    ("Originate", [("Application", "Queue"), ("Data", "support,tT,,,60")], ORIGINATE),
    ("Originate", [("Variable", "CALLERID(name)=Ada"), ("Variable", "X=1")], ORIGINATE),
    ("Originate", [("Application", "NoOp"), ("Data", "${LEN(${CALLERID(num)})}")], ORIGINATE),
    ("Originate", [("Application", "System"), ("Data", "id")], SYSTEM),
    ("originate", [("APPLICATION", " \t TrySystem"), ("Data", "id")], SYSTEM),
    ("Originate", [("Application", "Exec"), ("Data", "Playback(x)")], SYSTEM),
    ("Originate", [("Application", "AGI"), ("Data", "x.py")], SYSTEM),
    ("Originate", [("Application", "MixMonitor"), ("Data", "x.wav,,id")], SYSTEM),
    ("Originate", [("Application", "ExternalIVR"), ("Data", "/bin/id")], SYSTEM),
    ("Originate", [("Application", "NobodyKnowsThis")], SYSTEM),
    ("Originate", [("Application", "Playback"), ("Data", "HTTP://10.0.0.1/x.wav")], SYSTEM),
    ("Originate", [("Application", "Set"), ("Data", "CONFBRIDGE(bridge,record_command)=id")], SYSTEM),
    ("Originate", [("Variable", "CONFBRIDGE(bridge,record_command)=id")], SYSTEM),
    ("Originate", [("Application", "NoOp"), ("Data", "${SHELL(id)}")], SYSTEM),
    ("Originate", [("Application", "NoOp"), ("Data", "${CURL(http://x)}")], SYSTEM),
    ("Originate", [("Application", "NoOp"), ("Data", "${FILE(/etc/passwd)}")], SYSTEM),
    ("Originate", [("Application", "NoOp"), ("Data", "${EVAL(${X})}")], SYSTEM),
    ("Originate", [("Application", "NoOp"), ("Data", "${${X}${Y}}")], SYSTEM),
    ("Originate", [("Application", "NoOp"), ("Data", "${${X}(id)}")], SYSTEM),
    ("Originate", [("Application", "Set"), ("Data", "SHELL(id)=1")], SYSTEM),
    ("Originate", [("Application", "Set"), ("Data", "MONITOR_EXEC=rm")], SYSTEM),
    ("Originate", [("Application", "Queue"), ("Data", "support,tT,,,60,x.agi")], SYSTEM),
    ("Originate", [("Variable", "X=${SHELL(id)}")], SYSTEM),
    ("Originate", [("Variable", "FILE(/etc/cron.d/x)=* * * * * root id")], SYSTEM),
    ("Originate", [("Variable", "A=1"), ("variable", "B=2,SH\\ELL(id)=1")], SYSTEM),
    ("Originate", [("Variable", "A=1"), ("Variable", "__MONITOR_EXEC=rm -rf /")], SYSTEM),
    ("Originate", [("Variable", "NOBODYKNOWS(x)=1")], SYSTEM),
    # The first header of a name is the one that Asterisk takes.
    ("Originate", [("Application", "Playback"), ("application", "System")], ORIGINATE),
    ("Originate", [("application", "System"), ("Application", "Playback")], SYSTEM),
    ("Command", [("command", "core show channels"), ("Command", "core stop now")], READ),
    ("Command", [("COMMAND", "core stop now"), ("Command", "core show channels")], SYSTEM),
    ("Getvar", [("Variable", "EXTEN")], READ),
    ("Getvar", [("Channel", "PJSIP/1-1"), ("Variable", "CALLERID(num)")], READ),
    ("Getvar", [("Variable", "SHELL(id)")], SYSTEM),
    ("Getvar", [("Variable", "shell (id)")], SYSTEM),
    ("Getvar", [("Variable", "FILE(/etc/asterisk/manager.conf)")], SYSTEM),
    ("Getvar", [("Variable", "DB(cidname/1)")], SYSTEM),
    ("Getvar", [("Variable", "NOBODYKNOWS(x)")], SYSTEM),
    ("Setvar", [("Channel", "PJSIP/1-1"), ("Variable", "X"), ("Value", "a b,c")], OPERATE),
    ("Setvar", [("Variable", "X"), ("Value", "1")], CONFIG),  # a global one
    ("Setvar", [("Channel", "PJSIP/1-1"), ("Variable", "CALLERID(name)"), ("Value", "Ada")], OPERATE),
    ("Setvar", [("Channel", "PJSIP/1-1"), ("Variable", "SHELL(id)"), ("Value", "x")], SYSTEM),
    ("Setvar", [("Channel", "PJSIP/1-1"), ("Variable", "X"), ("Value", "${SHELL(id)}")], SYSTEM),
    ("Setvar", [("Channel", "PJSIP/1-1"), ("Variable", "MONITOR_EXEC"), ("Value", "rm")], SYSTEM),
    ("UpdateConfig", [("SrcFilename", "queues.conf"), ("DstFilename", "queues.conf")], CONFIG),
    ("UpdateConfig", [("SrcFilename", "queues.conf"), ("DstFilename", "manager.conf")], SYSTEM),
    ("UpdateConfig", [("SrcFilename", "extensions.conf"), ("DstFilename", "x.conf")], SYSTEM),
    ("UpdateConfig", [("SrcFilename", "x.conf"), ("DstFilename", "../x.conf")], SYSTEM),
    ("UpdateConfig", [("SrcFilename", "Voicemail.conf"), ("DstFilename", "voicemail.conf")], SYSTEM),
    ("MixMonitor", [("Channel", "PJSIP/1-1"), ("File", "call.wav")], OPERATE),
    ("MixMonitor", [("Channel", "PJSIP/1-1"), ("File", "/etc/cron.d/x")], CONFIG),
    ("MixMonitor", [("Channel", "PJSIP/1-1"), ("File", "x.wav"), ("Command", "id")], SYSTEM),
    ("MixMonitor", [("Channel", "PJSIP/1-1"), ("File", "x.wav,,id")], SYSTEM),
    ("Monitor", [("Channel", "SIP/1-1"), ("File", "x`id`"), ("Mix", "true")], SYSTEM),
    ("ConfbridgeStartRecord", [("Conference", "1")], OPERATE),
    ("Monitor", [("Channel", "SIP/1-1"), ("File", "x"), ("Format", "wav;id")], SYSTEM),
    # Status reads what its Variables name, functions too.
    ("Status", [("Channel", "PJSIP/1-1")], READ),
    ("Status", [("Variables", "EXTEN,CALLERID(num)"), ("AllVariables", "true")], READ),
    ("Status", [("Variables", "EXTEN,SHELL(id)")], SYSTEM),
    ("Status", [("variables", "FILE(/etc/asterisk/manager.conf)")], SYSTEM),
    ("Getvar", [("Variable", 'REGEX("(((x{1,99}){1,99}){1,99})" a)')], SYSTEM),
    ("Getvar", [("Variable", "GROUP_MATCH_COUNT((x{99}){99})")], SYSTEM),
    ("Hangup", [("Channel", "/^PJSIP.100-/")], OPERATE),
    ("Hangup", [("Channel", "/(((x{1,99}){1,99}){1,99})/")], SYSTEM),
    # What holds a comma together moves the argument that Queue takes for a script.
    ("Originate", [("Application", "Queue"), ("Data", "support,(,,,,,),,,,x.agi")], SYSTEM),
    ("Originate", [("Application", "Queue"), ("Data", 'support,",,,,",,,,x.agi')], SYSTEM),
    ("Originate", [("Application", "Queue"), ("Data", "support,\\,,,,,,x.agi")], SYSTEM),
    ("Originate", [("Variable", "MEETME_AGI_BACKGROUND=x.sh"), ("Exten", "1")], SYSTEM),
    ("Originate", [("Variable", "MONITOR_FILENAME=^{NOBODYKNOWS(x)}"), ("Exten", "1")], SYSTEM),
    ("Originate", [("Channel", "Local/${SHELL(id)}@x"), ("Exten", "1")], SYSTEM),
    ("Originate", [("PreDialGoSub", "x,s,1(${FILE(/etc/passwd)})"), ("Exten", "1")], SYSTEM),
    # Custom device and presence states are kept in Asterisk's own database.
    (
        "Setvar",
        [("Channel", "PJSIP/1-1"), ("Variable", "DEVICE_STATE(Custom:lamp)"), ("Value", "BUSY")],
        CONFIG,
    ),
    ("Setvar", [("Channel", "x"), ("Variable", ' "presence_STATE" (a)'), ("Value", "away")], CONFIG),
    ("Setvar", [("Variable", "DEVICE_STATE(Custom:lamp)"), ("Value", "BUSY")], CONFIG),
    ("Getvar", [("Variable", "DEVICE_STATE(Custom:lamp)")], READ),
    ("Originate", [("Variable", "A=1,DEVICE_STATE(Custom:lamp)=BUSY")], CONFIG),
    ("Originate", [("Application", "Set"), ("Data", "DEVICE_STATE(Custom:lamp)=BUSY")], CONFIG),
    ("Originate", [("Application", "MSet"), ("Data", "A=1,PRESENCE_STATE(x)=away")], CONFIG),
    ("Originate", [("Application", "Read"), ("Data", "DB(a/b),demo")], SYSTEM),
    ("Originate", [("Application", "Read"), ("Data", "NOBODYKNOWS(x),demo")], SYSTEM),
    ("Originate", [("Application", "Read"), ("Data", "DIGITS,demo-congrats,4")], ORIGINATE),
    # Of these Asterisk makes MixMonitor's arguments; the third is a program.
    ("Setvar", [("Channel", "x"), ("Variable", "MONITOR_OPTIONS"), ("Value", "b,id")], SYSTEM),
    ("Setvar", [("Channel", "x"), ("Variable", "MONITOR_FILENAME"), ("Value", "x,b,id;")], SYSTEM),
    ("Setvar", [("Channel", "x"), ("Variable", "TOUCH_MIXMONITOR"), ("Value", "x,b,id")], SYSTEM),
    ("Setvar", [("Channel", "x"), ("Variable", "MONITOR_FILENAME"), ("Value", "../x")], CONFIG),
    ("Setvar", [("Channel", "x"), ("Variable", "MONITOR_FILENAME"), ("Value", "call-100")], OPERATE),
    ("Originate", [("Variable", 'MONITOR_OPTIONS="b,id"')], SYSTEM),
    ("Originate", [("Variable", "MEETME_RECORDINGFILE=/etc/x"), ("Exten", "1")], CONFIG),
    ("MixMonitor", [("Channel", "x"), ("File", "x.wav"), ("Options", "i(DB(a/b))")], SYSTEM),
    ("MixMonitor", [("Channel", "x"), ("File", "x.wav"), ("Options", "r(/etc/x)")], CONFIG),
    # CHANNELS takes a pattern, and so does an expression.
    ("Getvar", [("Variable", "CHANNELS((((x{1,99}){1,99}){1,99}))")], SYSTEM),
    ("Originate", [("Application", "NoOp"), ("Data", "$[x =~ (((x{1,99}){1,99}){1,99})]")], SYSTEM),
    ("Originate", [("Application", "NoOp"), ("Data", "$[${X} + 1]")], ORIGINATE),
    # Files, and what is written into them.
    ("UpdateConfig", [("DstFilename", "logger.conf")], SYSTEM),  # exec_after_rotate
    ("UpdateConfig", [("DstFilename", "cdr_custom.conf")], SYSTEM),
    ("UpdateConfig", [("DstFilename", "calendar.conf")], SYSTEM),
    ("UpdateConfig", [("DstFilename", "pjsip.conf"), ("Value-000000", "yes")], CONFIG),
    ("UpdateConfig", [("DstFilename", "pjsip.conf"), ("Value-000000", "FILE(/etc/x)=1")], SYSTEM),
    ("UpdateConfig", [("DstFilename", "say.conf"), ("Value-000003", "${SHELL(id)}")], SYSTEM),
    (
        "UpdateConfig",
        [("DstFilename", "pjsip.conf"), ("Var-000000", "#exec"), ("Value-000000", ";id")],
        SYSTEM,
    ),
    ("GetConfig", [("Filename", "../../etc/passwd")], SYSTEM),
    ("CreateConfig", [("Filename", "/tmp/x.conf")], SYSTEM),
    ("GetConfigJSON", [("Filename", "pjsip.conf")], CONFIG),
    # Asterisk skips whatever is below a blank before a name.
    ("\x01Command", [("Command", "core show channels")], READ),
    ("\x01\x02Command", [("Command", "\x01core stop now")], SYSTEM),
]

UNKNOWN = [
    (None, SYSTEM),
    ("", SYSTEM),
    ("<none>", SYSTEM),
    ("all", SYSTEM),
    ("call,all", OPERATE),
    ("call,reporting,all", OPERATE),
    ("reporting,all", OPERATE),  # it has no name of something that looks
    ("originate,all", ORIGINATE),
    ("command,all", COMMAND),
    ("config,all", CONFIG),
    ("system,call,all", SYSTEM),
    ("agi,all", SYSTEM),
    ("aclassofthefuture,all", SYSTEM),
]


def test_the_classes_are_ordered() -> None:
    assert READ < OPERATE < ORIGINATE < COMMAND < CONFIG < SYSTEM
    assert max(READ, SYSTEM, CONFIG) is SYSTEM and sorted([SYSTEM, READ]) == [READ, SYSTEM]
    assert OPERATE >= "operate" and READ <= "operate" and not SYSTEM < "operate"
    assert str(READ) == "read"


@pytest.mark.parametrize(("action", "danger"), ACTIONS)
def test_an_action_has_its_class(action: str, danger: Danger) -> None:
    assert danger_of(action, []) is danger


@pytest.mark.parametrize(("command", "danger"), COMMANDS)
def test_a_cli_command_has_the_class_of_its_words(command: str, danger: Danger) -> None:
    assert danger_of("Command", [("Command", command)]) is danger


@pytest.mark.parametrize(("action", "headers", "danger"), HEADERS)
def test_headers_raise_and_lower_the_class(
    action: str, headers: list[tuple[str, str]], danger: Danger
) -> None:
    assert danger_of(action, headers) is danger


@pytest.mark.parametrize(("privileges", "danger"), UNKNOWN)
def test_what_nobody_has_read_goes_by_its_privileges(privileges: str | None, danger: Danger) -> None:
    assert danger_of("NobodyKnowsThis", [], privileges) is danger
    assert not safe_to_repeat("NobodyKnowsThis", [], privileges)


def test_an_unknown_action_that_lists_and_only_reports_is_read() -> None:
    assert danger_of("SCCPShowDevices", [], "system,config,reporting,all") is READ
    assert danger_of("SCCPShowDevices", [], "system,config,all") is SYSTEM
    assert not safe_to_repeat("SCCPShowDevices", [], "reporting,all")


def test_privileges_never_lower_a_reviewed_action() -> None:
    assert danger_of("DBPut", [], "reporting") is SYSTEM
    assert danger_of("Command", [("Command", "core stop now")], "reporting") is SYSTEM


def test_every_action_of_16_and_22_was_reviewed() -> None:
    names = set()
    for version in ("16", "22"):
        text = (CAPTURES / version / "list_commands.ami").read_text(errors="replace")
        names |= set(re.findall(r"^(\w+): .*\(Priv: ", text, re.MULTILINE))
    assert len(names) > 120
    assert not {name for name in names if name.lower() not in REVIEWED}


def test_nothing_that_needs_a_writing_class_alone_was_reviewed_as_read() -> None:
    """Asterisk's own opinion is its class reporting; where the table disagrees it is on purpose."""
    known = {
        # These list, and were given the class of their module.
        "Agents", "FAXSession", "FAXSessions", "ParkedCalls", "Parkinglots", "PJSIPShowAors",
        "PJSIPShowContacts", "PJSIPShowEndpoints", "PJSIPShowRegistrationInboundContactStatuses",
        "PJSIPShowRegistrationsInbound", "PJSIPShowResourceLists", "PJSIPShowSubscriptionsInbound",
        "PJSIPShowSubscriptionsOutbound", "ModuleCheck", "SIPpeerstatus",
    }  # fmt: skip
    odd = set()
    for version in ("16", "22"):
        text = (CAPTURES / version / "list_commands.ami").read_text(errors="replace")
        for name, privileges in re.findall(r"^(\w+): .*\(Priv: (.*)\)", text, re.MULTILINE):
            if danger_of(name, [("Variable", "X")]) is READ and not {"reporting", "<none>"} & set(
                privileges.split(",")
            ):
                odd.add(name)
    assert odd == known


@pytest.mark.parametrize(
    ("action", "headers", "twice"),
    [
        ("CoreShowChannels", [], True),
        ("GetConfig", [("Filename", "pjsip.conf")], True),
        ("DBGet", [], True),
        ("Command", [("Command", "core show channels")], True),
        ("Command", [("Command", "database show")], True),
        ("Getvar", [("Variable", "EXTEN")], True),
        ("Getvar", [("Variable", "SHELL(id)")], False),
        ("Command", [("Command", "channel request hangup all")], False),
        ("Command", [("Command", "core stop now")], False),
        ("Originate", [("Channel", "PJSIP/1")], False),
        ("QueueAdd", [], False),
        ("DBPut", [], False),
        ("WaitEvent", [], False),
        ("ListCategories", [], True),
        ("UpdateConfig", [], False),
    ],
)
def test_what_may_be_sent_twice(action: str, headers: list[tuple[str, str]], twice: bool) -> None:
    assert safe_to_repeat(action, headers) is twice


def test_a_header_is_found_as_asterisk_finds_it() -> None:
    headers = [("Variables", "no"), ("VARIABLE", " \t one "), ("Variable", "two"), ("Empty", "")]
    assert header_value(headers, "variable") == "one "
    assert header_values(headers, "Variable") == ["one ", "two"]
    assert header_value(headers, "Empty") == ""
    assert header_value(headers, "Absent") is None


def test_every_assessment_says_why() -> None:
    for action, headers, _ in HEADERS:
        assert request_assess(action, headers).why


@given(st.text(), st.lists(st.tuples(st.text(max_size=12), st.text(max_size=60)), max_size=4))
def test_anything_at_all_has_a_class(action: str, headers: list[tuple[str, str]]) -> None:
    for name in (action, "Command", "Originate", "Setvar", "Getvar", "MixMonitor"):
        assert request_assess(name, headers).danger in Danger


@given(st.text(alphabet='abdeshow "\\\t', max_size=30))
def test_no_spelling_of_a_cli_command_hides_its_words(noise: str) -> None:
    """Whatever quotes and blanks stand round it, a command that Asterisk reads as `core stop` is not read."""
    spelled = f'  "co\\re"\t \\stop {noise}'
    assert danger_of("Command", [("Command", spelled)]) is SYSTEM


@pytest.mark.parametrize(
    "text",
    [
        "sql" * 60_000,
        "${" * 90_000,
        "a" * 200_000,
        "(" * 200_000,
        "${LEN(" * 30_000,
        " " * 200_000,
        "x " * 90_000,
    ],
    ids=lambda text: text[:6],
)
def test_no_value_takes_long_to_read_however_it_is_made(text: str) -> None:
    began = time.process_time()
    for action, header in (
        ("Originate", "Data"),
        ("Originate", "Variable"),
        ("Command", "Command"),
        ("Getvar", "Variable"),
        ("Setvar", "Value"),
    ):
        danger_of(action, [(header, text)])
    danger_of(text, [])
    assert time.process_time() - began < 10  # a pattern that explodes takes hours
