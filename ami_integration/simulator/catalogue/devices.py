"""Devices, extensions and endpoints: the actions and what they tell."""

from ami_integration.simulator.catalogue.pages import Argument, Description, EventDescription, completion
from ami_integration.simulator.endpoints import SETTINGS
from ami_integration.simulator.wire import EventClass

_STATES = EventClass.CALL | EventClass.REPORTING
_NEW = "18.26.0, 20.11.0, 21.6.0, 22.1.0"

_DEVICE = EventDescription(
    "DeviceStateChange",
    "A device does something else.",
    ("Device", "State"),
    (Argument("Device", "Which one"), Argument("State", "What it does now")),
    ("ExtensionStatus",),
    "13.0.0",
)
_EXTENSION = EventDescription(
    "ExtensionStatus",
    "The device behind an extension does something else.",
    ("Exten", "Context", "Hint", "Status", "StatusText"),
    (
        Argument("Exten", "Which extension."),
        Argument("Context", "Its context."),
        Argument("Hint", "The devices behind it."),
        Argument(
            "Status",
            "What they do, as a number.",
            values=(
                "-2 - The extension was removed.",
                "-1 - The extension has no hint.",
                "0 - Idle.",
                "1 - In use.",
                "2 - Busy.",
                "4 - Not reachable.",
                "8 - Ringing.",
                "9 - Ringing while in use.",
                "16 - On hold.",
                "17 - In use and on hold.",
            ),
        ),
        Argument(
            "StatusText",
            "What they do, in words.",
            values=(
                "Idle", "InUse", "Busy", "Unavailable", "Ringing", "InUse&Ringing", "Hold", "InUse&Hold",
                "Unknown",
            ),
        ),
    ),
    ("ExtensionState",),
    _NEW,
)  # fmt: skip
_OF_AN_OBJECT = (
    Argument("ObjectType", "What kind of object it is."),
    Argument("ObjectName", "Its name."),
    Argument("EndpointName", "The endpoint that it belongs to."),
    Argument("DeviceState", "What the device does now."),
    Argument("ActiveChannels", "Its channels."),
)
_LISTED_ENDPOINT = EventDescription(
    "EndpointList",
    "An endpoint of the list.",
    (
        "ObjectType", "ObjectName", "Transport", "Aor", "Auths", "OutboundAuths", "DeviceState",
        "ActiveChannels", "Contacts",
    ),
    _OF_AN_OBJECT,
)  # fmt: skip
_ENDPOINT = EventDescription(
    "EndpointDetail",
    "The settings of the endpoint.",
    (
        "ObjectType",
        "ObjectName",
        # Asterisk tells of this one and doesn't describe it.
        *(name for name in SETTINGS if name != "FollowRedirectMethods"),
        "DeviceState",
        "ActiveChannels",
    ),
    _OF_AN_OBJECT,
)
_AOR = EventDescription(
    "AorDetail",
    "An address of record of the endpoint.",
    (
        "ObjectType", "ObjectName", "MinimumExpiration", "MaximumExpiration", "DefaultExpiration",
        "QualifyFrequency", "AuthenticateQualify", "MaxContacts", "RemoveExisting", "RemoveUnavailable",
        "Mailboxes", "OutboundProxy", "SupportPath", "Qualify2xxOnly", "QualifyTimeout", "VoicemailExtension",
        "Contacts", "TotalContacts", "ContactsRegistered", "EndpointName",
    ),
    _OF_AN_OBJECT,
    since="13.12.0, 14.1.0",
)  # fmt: skip
_CONTACT = EventDescription(
    "ContactStatusDetail",
    "A contact of the endpoint.",
    (
        "AOR", "URI", "Status", "RoundtripUsec", "EndpointName", "UserAgent", "RegExpire", "ViaAddress",
        "CallID", "ID", "AuthenticateQualify", "OutboundProxy", "Path", "QualifyFrequency", "QualifyTimeout",
        "Qualify2xxOnly",
    ),
    (
        *_OF_AN_OBJECT,
        Argument("Status", values=("Reachable", "Unreachable", "NonQualified", "Unknown")),
    ),
    since="13.0.0",
)  # fmt: skip

ACTIONS = (
    Description(
        "DeviceStateList",
        "List what the devices do.",
        "Lists every device whose state is known.",
        _STATES,
        see_also=("DeviceStateChange", "DEVICE_STATE"),
        since="13.0.0",
        items=(_DEVICE,),
        complete=completion("DeviceStateListComplete", "devices", since="13.0.0"),
    ),
    Description(
        "ExtensionState",
        "Show what is behind an extension.",
        "Answers with the hint of an extension and what the devices behind it do.",
        _STATES,
        (
            Argument("Exten", "Which extension.", True),
            Argument("Context", "Its context.", True),
        ),
        ("ExtensionStatus",),
        since="0.4.0",
    ),
    Description(
        "ExtensionStateList",
        "List what is behind the extensions.",
        "Lists every extension that has a hint.",
        _STATES,
        see_also=("ExtensionState", "HINT", "EXTENSION_STATE"),
        since="13.0.0",
        items=(_EXTENSION,),
        complete=completion("ExtensionStateListComplete", "extensions", since="13.0.0"),
    ),
    Description(
        "PJSIPShowEndpoint",
        "Show one PJSIP endpoint.",
        "Lists all that belongs to an endpoint: its settings, its addresses, its contacts.",
        EventClass.SYSTEM,
        (Argument("Endpoint", "Name of the endpoint.", True),),
        since="12.0.0",
        items=(_ENDPOINT, _AOR, _CONTACT),
        complete=completion("EndpointDetailComplete", "what belongs to the endpoint"),
    ),
    Description(
        "PJSIPShowEndpoints",
        "List the PJSIP endpoints.",
        "Lists every endpoint with its address and what it does.",
        EventClass.SYSTEM,
        since="12.0.0",
        items=(_LISTED_ENDPOINT,),
        complete=completion("EndpointListComplete", "endpoints"),
    ),
)

EVENTS = (_DEVICE, _EXTENSION)
