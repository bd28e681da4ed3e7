"""Run one action on a PBX from a terminal: ``python -m ami_integration.ami HOST ACTION Key=Value …``.

What is printed comes from strangers (a caller chooses his name), so control characters, which could steer a
terminal, are shown as escapes.

Exit codes: 0 the PBX agreed; 1 it said no; 2 the command line is wrong; 3 no connection; 4 the login failed;
5 the action was sent and its answer never came, so it may have run: don't just repeat it.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable, Sequence

from ami_integration.ami.action import Action
from ami_integration.ami.arguments import (
    NoSecret,
    Parser,
    add_connection,
    advice,
    read_headers,
    read_secret,
    timeouts_of,
    transport_of,
)
from ami_integration.ami.blocking import AMIClient, BlockingSubscription
from ami_integration.ami.errors import AMIError, ConnectError, InvalidAction, LoginError, Unanswered
from ami_integration.ami.messages import Event, Reply
from ami_integration.ami.printing import printable
from ami_integration.ami.transports import Transport

AGREED, REFUSED, USAGE, NO_CONNECTION, NO_LOGIN, NO_ANSWER = range(6)
INTERRUPTED = 130

#: Said once above the list, or only for machines.
_NOT_COLUMNS = frozenset({"event", "actionid"})
_NOT_SHOWN = frozenset({"response", "actionid", "message", "eventlist", "output"})
_WIDEST = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if not options.action and options.events == "off":
        parser.error("name an ACTION, or ask for --events")
    try:
        action = Action(options.action, read_headers(options.header)) if options.action else None
        if action is not None:
            action.encode()
        client = AMIClient(
            transport_of(options),
            username=options.username,
            secret=read_secret(options),
            events=options.events,
            timeouts=timeouts_of(options),
            max_events=0,
        )
    except (ValueError, NoSecret) as error:  # InvalidAction is a ValueError
        parser.error(str(error))
    # Before connecting: some events come with the login's answer.
    events = client.subscribe(maxsize=100_000) if options.events != "off" else None
    try:
        with client:
            code = AGREED
            if action is not None:
                code = show_reply(client.action(action))
            if events is not None:
                show_events(events, options.seconds)
            return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (head, less) has seen enough; the interpreter must not complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return AGREED
    except AMIError as error:
        if isinstance(error, Unanswered) and error.reply is not None:
            show_reply(error.reply)
        return fail(error, client.transport)


def fail(error: AMIError, transport: Transport) -> int:
    """Say in one line on standard error what was seen and what to do; returns the exit code."""
    print(printable(f"{error} {advice(error, transport)}".rstrip()), file=sys.stderr)
    return exit_code(error)


def exit_code(error: AMIError) -> int:
    """The exit code that tells what an error means for the action."""
    if isinstance(error, InvalidAction):
        return USAGE
    if isinstance(error, LoginError):
        return NO_LOGIN
    if isinstance(error, ConnectError) or not error.sent:
        return NO_CONNECTION
    return NO_ANSWER


def show_reply(reply: Reply) -> int:
    """Print a reply, and return the exit code that it means."""
    if not reply.success:
        print(printable(reply.message or "The PBX said Error and no more."), file=sys.stderr)
    elif reply.message and not reply.events and not reply.output:
        print(printable(reply.message))
    for line in reply.output:
        print(printable(line))
    rows = [(name, value) for name, value in reply.response.items() if name.lower() not in _NOT_SHOWN]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(printable(f"{name:{width}}  {value}").rstrip())
    show_list(reply.events)
    if not reply.whole:
        said = reply.complete.get("ListItems", "") if reply.complete else ""
        print(f"The list isn't whole: {len(reply.events)} came, the PBX says {said}.", file=sys.stderr)
    return AGREED if reply.success else REFUSED


def show_list(events: Iterable[Event]) -> None:
    """Print the items of a list as tables, one for each kind of item, a column for each header."""
    kinds: dict[str, list[Event]] = {}
    for event in events:
        kinds.setdefault(event.name, []).append(event)
    for position, (kind, items) in enumerate(kinds.items()):
        if position:
            print()
        print(f"{printable(kind)}: {len(items)}")
        columns: dict[str, None] = {}
        rows: list[dict[str, str]] = []
        for item in items:
            row: dict[str, str] = {}
            for name, value in item.items():
                if name.lower() not in _NOT_COLUMNS:
                    columns[name] = None
                    # A name that repeats keeps all its values.
                    row[name] = f"{row[name]} | {value}" if name in row else value
            rows.append(row)
        show_table(list(columns), [[row.get(name, "") for name in columns] for row in rows])


def show_table(titles: list[str], rows: list[list[str]]) -> None:
    """Print a table; in a terminal long cells are cut, in a file or pipe they are whole."""
    widest = _WIDEST if sys.stdout.isatty() else sys.maxsize
    table = [[_cut(printable(cell), widest) for cell in row] for row in [titles, *rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles))]
    for row in table:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def show_events(events: BlockingSubscription, seconds: float | None) -> None:
    """Print events as they come, a blank line after each, for so many seconds or until Ctrl-C."""
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    try:
        while (left := deadline - time.monotonic()) > 0:
            for event in next(events.batches(None if left == math.inf else left), ()):
                for name, value in event.items():
                    print(printable(f"{name}: {value}"))
                print()
            sys.stdout.flush()
    finally:
        if events.dropped:
            print(
                f"{events.dropped} events are missing: they came faster than they could be shown.",
                file=sys.stderr,
            )


def _cut(text: str, widest: int) -> str:
    return text if len(text) <= widest else f"{text[: widest - 1]}…"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m ami_integration.ami",
        description="Run one action on an Asterisk PBX through AMI, and print its answer.",
        epilog="The account's secret comes from the environment variable AMI_SECRET, and the SSH server's "
        "password from AMI_SSH_PASSWORD, or they are asked for. "
        "Exit codes: 0 the PBX agreed, 1 it said no, 2 wrong usage, 3 no connection, 4 login failed, "
        "5 sent but no answer came (it may have run).",
    )
    add_connection(parser)
    parser.add_argument("action", metavar="ACTION", nargs="?", help="such as ListCommands or CoreStatus")
    parser.add_argument(
        "header", metavar="Key=Value", nargs="*", help="the action's headers; a key may repeat"
    )
    parser.add_argument(
        "--events",
        default="off",
        metavar="CLASSES",
        help='then print events: "on", or classes such as "call,system"; Ctrl-C ends it',
    )
    parser.add_argument("--seconds", type=float, help="print events for so long")
    return parser


if __name__ == "__main__":
    sys.exit(main())
