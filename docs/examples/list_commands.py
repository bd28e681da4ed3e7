"""List the actions that a PBX offers to an AMI account.

    python list_commands.py --host pbx.example.com --username monitor

Needs the AMI client (in a checkout: `pip install .`) and nothing else. The secret comes from AMI_SECRET
or is asked for.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from ami_integration.ami import TCP, AMIClient, AMIError


def main() -> int:
    parser = argparse.ArgumentParser(description="List the actions that a PBX offers to an AMI account.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5038)
    parser.add_argument("--username", required=True)
    arguments = parser.parse_args()
    secret = os.environ.get("AMI_SECRET") or getpass.getpass(f"Secret of {arguments.username}: ")

    try:
        with AMIClient(
            TCP(arguments.host, arguments.port), username=arguments.username, secret=secret
        ) as pbx:
            reply = pbx.action("ListCommands")
    except AMIError as error:
        print(error, file=sys.stderr)
        return 1

    if not reply.success:
        print(reply.message, file=sys.stderr)
        return 1
    print(f"AMI {pbx.ami_version} at {arguments.host}:{arguments.port}")
    about_the_reply = {"response", "actionid", "message"}
    for action, synopsis in reply.response.items():
        if action.lower() not in about_the_reply:
            print(f"{action:32} {synopsis}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
