"""The groups of headers that events are made of."""

CHANNEL = (
    "Channel", "ChannelState", "ChannelStateDesc", "CallerIDNum", "CallerIDName", "ConnectedLineNum",
    "ConnectedLineName", "Language", "AccountCode", "Context", "Exten", "Priority", "Uniqueid", "Linkedid",
)  # fmt: skip
DEST = tuple(f"Dest{name}" for name in CHANNEL)
LOCAL = tuple(f"Local{end}{name}" for end in ("One", "Two") for name in CHANNEL)
BRIDGE = (
    "BridgeUniqueid", "BridgeType", "BridgeTechnology", "BridgeCreator", "BridgeName", "BridgeNumChannels",
    "BridgeVideoSourceMode", "[BridgeVideoSource]",
)  # fmt: skip
