"""The actions that concern the session itself, the PBX as a whole, and its configuration."""

from ami_integration.simulator.catalogue.pages import Argument, Description, EventDescription
from ami_integration.simulator.wire import EventClass

_CORE = EventClass.SYSTEM | EventClass.REPORTING
_MASK = (
    "on - All events.",
    "off - No events.",
    "system,call,log,... - Events of these classes.",
)

ACTIONS = (
    Description(
        "Challenge",
        "Get a challenge for an MD5 login.",
        "Answers with a challenge; the Key of the Login that follows is made of it and the secret.",
        arguments=(
            Argument("AuthType", "Digest to use, of which there is one:", required=True, values=("MD5",)),
        ),
        since="0.4.0",
    ),
    Description(
        "Command",
        "Run a command of the CLI.",
        "Runs a command as if it had been typed on the console, and returns its output.",
        EventClass.COMMAND,
        (Argument("Command", "The command to run.", required=True),),
        since="0.3.0",
    ),
    Description(
        "CoreSettings",
        "Show the core's settings.",
        "Tells the version of the PBX and of AMI, and how its core is set up.",
        _CORE,
        since="1.6.0",
    ),
    Description(
        "CoreStatus",
        "Show how the core is doing.",
        "Tells since when the PBX has run, and how many calls it has and had.",
        _CORE,
        since="1.6.0",
    ),
    Description(
        "Events",
        "Choose which events this session gets.",
        "Sets the mask of events of this session, within what its account may read.",
        arguments=(Argument("EventMask", required=True, values=_MASK),),
        since="0.9.0",
    ),
    Description(
        "GetConfig",
        "Read a configuration file.",
        "Answers with the sections of a file and their lines, numbered. The simulator has confbridge.conf, "
        "extensions.conf and queues.conf.",
        EventClass.SYSTEM | EventClass.CONFIG,
        (
            Argument("Filename", "Name of the file, such as queues.conf.", required=True),
            Argument("Category", "Only the section of this name."),
            Argument(
                "Filter",
                "Only sections whose settings fit all of these: a comma-separated list of "
                "<setting>=<regular expression>.",
            ),
        ),
        ("GetConfigJSON", "UpdateConfig", "CreateConfig", "ListCategories"),
        since="1.4.0",
    ),
    Description(
        "ListCommands",
        "List the actions that this account may run.",
        "Answers with one header for each action: its name, what it does and the classes that it needs.",
        since="1.0.0",
    ),
    Description(
        "Login",
        "Log in.",
        "Logs this session in, with the secret itself or with a key made of it and a challenge.",
        arguments=(
            Argument("Username", "The account, as in manager.conf.", True),
            Argument(
                "AuthType", values=("plain - The secret itself, the default.", "MD5 - A key made of it.")
            ),
            Argument("Secret", "The account's secret, for a plain login."),
            Argument(
                "Key",
                "32 lower-case hexadecimal digits: the MD5 digest of the challenge and the secret.",
            ),
            Argument("Events", values=_MASK),
        ),
        see_also=("Challenge", "Logoff"),
    ),
    Description("Logoff", "Log off.", "Ends this session.", see_also=("Login",)),
    Description(
        "Ping",
        "Ask whether the PBX is there.",
        "Answers with Pong, which also keeps the session from idling.",
    ),
    Description(
        "UserEvent",
        "Send an event of your own.",
        "Tells every session that reads class user an event with the headers of this request.",
        EventClass.USER,
        (
            Argument("UserEvent", "What the event calls itself.", required=True),
            Argument("Header1", "Any header, under a name of your choice."),
            Argument("HeaderN", "As many further ones as you like."),
        ),
        ("UserEvent", "UserEvent()"),
        since="1.4.0",
    ),
)

EVENTS = (
    EventDescription(
        "FullyBooted",
        "The PBX has started and can be used.",
        ("Status", "Uptime", "LastReload"),
        (
            Argument("Uptime", "Seconds since it started."),
            Argument("LastReload", "Seconds since its configuration was read."),
        ),
        description="Every session gets it after its login: it marks the beginning of the events.",
    ),
    EventDescription(
        "SuccessfulAuth",
        "Somebody has logged in.",
        (
            "EventTV",
            "Severity",
            "Service",
            "EventVersion",
            "AccountID",
            "SessionID",
            "LocalAddress",
            "RemoteAddress",
            "UsingPassword",
            "[Module]",
            "[SessionTV]",
        ),
        (
            Argument("EventTV", "When it happened."),
            Argument("Severity", values=("Informational", "Error")),
            Argument("Service", "Into what, such as AMI."),
            Argument("AccountID", "As whom."),
            Argument("RemoteAddress", "From where."),
            Argument("SessionTV", "When the session began."),
        ),
        since="12.1.0",
    ),
)
