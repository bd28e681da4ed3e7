"""What the simulator calls itself, wherever a PBX tells its version: never to be taken for a real one."""

ASTERISK_RELEASE = "22.10.1"
ASTERISK_VERSION = f"{ASTERISK_RELEASE} (amiweb simulator, simulated)"
SHOW_VERSION = f"Asterisk {ASTERISK_RELEASE} (amiweb simulator): no telephony, every call is simulated"
AMI_VERSION = "11.0.0"
"""What Asterisk 22 announces in its banner."""
