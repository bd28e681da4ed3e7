"""What is sent to a PBX to see what it answers, the same to a real one (record.py) and to the simulator."""


def action(name: str, *lines: str, action_id: str = "a1") -> str:
    """An action as text, with its ActionID second."""
    return "".join(f"{line}\r\n" for line in (f"Action: {name}", f"ActionID: {action_id}", *lines, ""))


def raw(*lines: str) -> str:
    """These lines and no other."""
    return "".join(f"{line}\r\n" for line in lines)


def command(line: str) -> str:
    return action("Command", f"Command: {line}")


PING = action("Ping", action_id="last")
MASKS = ("on", "off", "call,system", "nonsense", "", "5", "all", "none", "YES")
PHONE = "Channel: PJSIP/100"
WAIT = ("Application: Wait", "Data: 1")
TO_100 = ("Context: office", "Exten: 100", "Priority: 1")
TO_101 = ("Context: office", "Exten: 101", "Priority: 1")
BAD_ORIGINATES: tuple[tuple[str, ...], ...] = (
    TO_100,
    ("Channel: PJSIP", *TO_100),
    (PHONE, "Context: office", "Exten: 100", "Priority: one"),
    (PHONE, *TO_100, "Timeout: soon"),
    (PHONE, "Context: office", "Exten: 999", "Priority: 1"),
    (PHONE, "Context: nowhere", "Exten: 100", "Priority: 1"),
    (PHONE,),
    (PHONE, "Exten: 100"),
    (PHONE, "Exten: 100", "Context: office"),
    ("Channel: Nonsense/100", *WAIT),
    ("Channel: PJSIP/999", *WAIT),
    ("Channel: Local/999@office", *WAIT),
    ("Channel: Local/100@nowhere", *WAIT),
    (PHONE, *WAIT, f"ChannelId: {'x' * 200}"),
)
LONG = "x" * 3000

# Each is sent on a session of its own after a login with events off, and followed by PING.
EXCHANGES: dict[str, str] = {
    "ping": action("Ping") + raw("Action: ping", ""),
    "logoff": action("Logoff"),
    "second-login": action("Login", "Username: nobody", "Secret: x"),
    "challenge-after-login": action("Challenge", "AuthType: MD5"),
    "unknown-action": action("NoSuchThing"),
    "missing-action": raw("ActionID: a1", "", "", "Action:", "ActionID: a2", ""),
    "events": "".join(action("Events", f"EventMask: {mask}", action_id=mask) for mask in MASKS),
    "list-commands": action("ListCommands"),
    "core-settings": action("CoreSettings"),
    "core-status": action("CoreStatus"),
    "core-show-channels-none": action("CoreShowChannels"),
    "queue-status": action("QueueStatus"),
    "queue-status-one": action("QueueStatus", "Queue: support"),
    "queue-status-member": action("QueueStatus", "Member: PJSIP/102"),
    "queue-status-unknown": action("QueueStatus", "Queue: nosuch"),
    "hangup-unknown": action("Hangup", "Channel: PJSIP/nobody-1"),
    "hangup-no-channel": action("Hangup"),
    "hangup-pattern-none": action("Hangup", "Channel: /^nothing$/"),
    "hangup-pattern-bad": action("Hangup", "Channel: /^(/"),
    "originate-errors": "".join(
        action("Originate", *lines, action_id=str(number)) for number, lines in enumerate(BAD_ORIGINATES)
    ),
    "command-core-show-version": command("core show version"),
    "command-core-show-channels": command("core show channels"),
    "command-core-show-uptime": command("core show uptime seconds"),
    "command-unknown": command("nonsense of mine"),
    "command-usage": command("core show version 2"),
    "command-empty": action("Command"),
    "command-refused": command("module load x"),
    "command-unknown-action": command("manager show command Nonsense"),
    "line-1022": action("Ping", f"X: {'x' * 1019}"),
    "line-1023": raw("Action: Ping", "ActionID: a1", f"X: {'x' * 1020}") + action("Ping", action_id="a2"),
    "line-1024": action("Ping", f"X: {'x' * 1021}"),
    "line-2046": raw("Action: Ping", "ActionID: a1", f"X: {'x' * 2043}") + action("Ping", action_id="a2"),
    "line-too-long-before-action-id": raw("Action: Ping", f"X: {LONG}", "ActionID: a1", ""),
    "headers-128": action("Ping", *["X: 1"] * 126),
    "headers-129": action("Ping", *["X: 1"] * 127),
    "headers-129-and-line-too-long": raw("Action: Ping", f"X: {LONG}", *["X: 1"] * 129, ""),
    "lf-only": action("Ping").replace("\r", ""),
    "odd-headers": raw("action:Ping", "ACTIONID:   a b ", "ActionID: second", "Action : Logoff", ""),
    "nul-in-a-line": raw("Action: Ping\0Logoff", "ActionID: a1", ""),
    "byte-order-mark": raw("\ufeff", "") + action("Ping"),
    "colon-without-name": action("Ping", ": x", "no colon at all"),
}
for _name in (
    "Command",
    "CoreSettings",
    "CoreShowChannels",
    "Originate",
    "Ping",
    "QueueStatus",
    "Hangup",
    "Login",
):
    EXCHANGES[f"command-manager-show-command-{_name.lower()}"] = command(f"manager show command {_name}")

USER = "Username: recorder"
# Each is sent on a new connection, without a login before it.
BEFORE_LOGIN: dict[str, str] = {
    "banner": "",
    "login-failed": action("Login", USER, "Secret: wrong"),
    "login-unknown-user": action("Login", "Username: nobody", "Secret: wrong"),
    "login-without-user": action("Login", "Secret: recorder"),
    "login-md5-without-challenge": action("Login", USER, "AuthType: MD5", "Key: x"),
    "login": action("Login", USER, "Secret: recorder"),
    "login-events-off": action("Login", USER, "Secret: recorder", "Events: off"),
    "login-events-call": action("Login", USER, "Secret: recorder", "Events: call"),
    "not-logged-in": action("Ping") + action("Nonsense", action_id="a2"),
    "logoff-not-logged-in": action("Logoff"),
    "challenge": action("Challenge", "AuthType: MD5"),
    "challenge-wrong-type": action("Challenge", "AuthType: SHA") + action("Challenge", action_id="a2"),
}
