"""What `make run` runs: all of amiweb on one machine, with nothing installed but Python.

It prepares (database, first administrator, two simulated PBXs), then runs web, worker, ticker, beat,
listener, simulator and an embedded Valkey under one supervisor until Ctrl-C. Everything it writes lies under
the var folder: `amiweb.sqlite3`, the generated keys, `valkey/`, `log/` (one bounded file a process), `run/`
(who runs).

The trial stands outside the Django project: it prepares the environment which `settings.py` then reads.
"""

from __future__ import annotations

import errno
import fcntl
import http.client
import json
import logging
import os
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from amiweb import keeper

if TYPE_CHECKING:
    from django.conf import LazySettings

ROOT = Path(__file__).resolve().parent.parent
PORTS_TRIED = 50  # how far the search for a free default port goes
LEFTOVER_GRACE = 5.0  # seconds that a left-over process gets to stop by itself
READY_WITHIN = 120.0  # seconds after which the web process counts as not coming up

# The simulated PBXs of the first start: name, and what their notes say.
SIMULATED = (
    ("Demo head office", "A simulated PBX on this machine; delete it when you have added a real one."),
    ("Demo branch office", "A second simulated PBX, so that the pages show more than one."),
)


class Problem(Exception):
    """What keeps the trial from starting, as one line for a person."""


def main() -> int:
    """Run the trial; the exit code is 0 after Ctrl-C."""
    os.chdir(ROOT)
    if (
        "MAKELEVEL" in os.environ
    ):  # started by make: killed with it, we would run on without anybody's terminal
        keeper.die_with_parent(signal.SIGTERM)
    try:
        return run()
    except Problem as problem:
        print(f"amiweb: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\namiweb: stopped", file=sys.stderr)
        return 130


def run() -> int:
    """Prepare everything and supervise it.

    Raises:
        Problem: it can't start.
    """
    var = make_var_folder()
    with lock(var) as _:
        end_leftovers(var)
        choose_ports()
        configuration = load_settings()
        url = web_address(configuration.AMIWEB_BIND, configuration.AMIWEB_PORT)
        write_state(var, url)
        log_to_file(var)
        welcome = prepare(var)
        supervise(var, url, welcome)
        (var / "run" / keeper.SUPERVISOR_STATE).unlink(missing_ok=True)
    tell("amiweb has stopped.")
    return 0


def web_address(host: str, port: int) -> str:
    """Where a browser finds the web process."""
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def tell(text: str) -> None:
    """Print for the person at the terminal, if the terminal is still there."""
    try:
        print(text, flush=True)
    except OSError:
        pass


# The var folder, and who runs in it


def make_var_folder() -> Path:
    """Make the var folder and what the trial needs in it.

    Raises:
        Problem: it can't be made or written.
    """
    var = Path(os.environ.get("AMIWEB_VAR_DIR") or ROOT / "var").expanduser().absolute()
    try:
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("run", "log", "valkey"):
            (var / name).mkdir(mode=0o700, exist_ok=True)
        probe = var / "run" / "probe"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise Problem(
            f"can't write to the folder {var} ({error.strerror}): give it to your user, "
            "or name another one with AMIWEB_VAR_DIR"
        ) from None
    return var


def lock(var: Path) -> IO[str]:
    """Take the var folder for this process and its lifetime.

    Raises:
        Problem: another trial has it.
    """
    file = (var / "run" / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            state = json.loads((var / "run" / keeper.SUPERVISOR_STATE).read_text())
            known = f"process {state['processes'][0][0]}, at {state['url']}"
        except (OSError, ValueError, LookupError):
            known = "just starting"
        file.close()
        raise Problem(f"runs already in {var} ({known}); stop that one first") from None
    return file


def write_state(var: Path, url: str) -> None:
    """Say who supervises here, for a second start's message."""
    pid = os.getpid()
    state = {"name": "supervisor", "processes": [[pid, keeper.start_time(pid)]], "url": url}
    (var / "run" / keeper.SUPERVISOR_STATE).write_text(json.dumps(state))


def end_leftovers(var: Path) -> None:
    """End what an earlier trial in this folder left running; only processes that its state files name."""
    for state in sorted((var / "run").glob("*.json")):
        for pid in keeper.alive(state):
            tell(f"amiweb: ending a left-over of an earlier run: {state.stem} (process {pid})")
            end(pid)
        state.unlink(missing_ok=True)


def end(pid: int) -> None:
    """SIGTERM, and SIGKILL to one that does not go. It is no child of ours, so it is only watched."""
    watch = keeper.Watch(pid)
    for number, seconds in ((signal.SIGTERM, LEFTOVER_GRACE), (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + seconds
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        while time.monotonic() < deadline:
            if watch.ended():
                return
            time.sleep(0.05)


# Ports

_reserved: dict[int, socket.socket] = {}


def choose_ports() -> None:
    """Decide on the ports and put them into the environment, for the settings and all processes.

    A port that somebody asked for must be free. A default one may be in other hands (a second checkout): then
    the next free one serves.

    Raises:
        Problem: no free port.
    """
    bind = os.environ.get("AMIWEB_BIND") or "127.0.0.1"
    taken: set[int] = set()
    os.environ["AMIWEB_PORT"] = _ports("AMIWEB_PORT", [8765], bind, taken)
    os.environ["AMIWEB_SIMULATOR_PORTS"] = _ports(
        "AMIWEB_SIMULATOR_PORTS", [15038, 15039], "127.0.0.1", taken
    )


def _ports(name: str, default: list[int], bind: str, taken: set[int]) -> str:
    asked = os.environ.get(name, "").strip()
    if asked:
        for word in asked.split(","):
            if word.strip().isdigit() and (trouble := port_trouble(bind, int(word))):
                raise Problem(
                    f"port {word.strip()} of {bind} {trouble}: stop that program, "
                    f"or choose another port with {name}"
                )
        return asked  # whatever else is wrong with it, the settings say it better
    chosen: list[int] = []
    for port in range(default[0], default[0] + PORTS_TRIED):
        if port not in taken and not port_trouble(bind, port):
            chosen.append(port)
            taken.add(port)
            if len(chosen) == len(default):
                return ",".join(map(str, chosen))
    raise Problem(f"none of the ports {default[0]} to {port} is free: choose one with {name}")


def port_trouble(bind: str, port: int) -> str:
    """Why a program can't listen there; empty if it can."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do, right after a stop
        try:
            probe.bind((bind, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is in use by another program"
            return f"can't be used ({error.strerror})"
        except OverflowError:
            return "is not a port"
    return "" if reserve(port) else "is in use by another amiweb"


def reserve(port: int) -> bool:
    """Claim a port among the trials of this machine, from now until this process ends.

    Between the choice of a port and the moment when a process listens there lie seconds, in which a second
    checkout would choose the same. An abstract unix socket is a claim that leaves nothing behind; only Linux
    has them.
    """
    if sys.platform != "linux" or port in _reserved:
        return True
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0amiweb-port-{port}")
    except OSError:
        claim.close()
        return False
    _reserved[port] = claim
    return True


# Django


def load_settings() -> LazySettings:
    """Django's settings, checked as a whole.

    Raises:
        Problem: they are wrong, or those of production.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = "amiweb.settings"
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        production = settings.AMIWEB_PRODUCTION
    except ImproperlyConfigured as error:
        raise Problem(str(error)) from None
    if production:
        raise Problem(
            "this is the trial, but AMIWEB_ENV=production is set: unset it, or start the processes singly"
        )
    import django

    django.setup()
    return settings


def log_to_file(var: Path) -> None:
    """The supervisor's own log records go into a file, as those of its processes do."""
    handler = logging.FileHandler(var / "log" / "supervisor.log", mode="w", encoding="utf-8")
    root = logging.getLogger()
    handler.setFormatter(root.handlers[0].formatter if root.handlers else None)
    root.handlers[:] = [handler]


def prepare(var: Path) -> str:
    """Bring the database up to date, and on the first start fill it with what a newcomer needs.

    Returns:
        How to log in, for the words at the end of the start.
    """
    from django.core.management import call_command
    from django.db import connections
    from django.db.utils import DatabaseError

    tell("amiweb: preparing the database")
    try:
        call_command("migrate", verbosity=0, interactive=False)
        login = make_administrator()
        place_simulated_servers(var)
    except DatabaseError as error:
        raise Problem(f"the database can't be used: {error}") from None
    connections.close_all()  # the processes are forks of this one
    return login


def make_administrator() -> str:
    """Make the first administrator, if there is none yet, and the groups for those who come next.

    Returns:
        How to log in. The password is printed here, once, and kept only as a hash.
    """
    from django.conf import settings
    from django.contrib.auth import get_user_model

    from ami_integration.access.starters import starter_groups_make

    users = get_user_model().objects
    known = users.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if known is not None:
        name = known.get_username()
        return f"Log in as {name}. Password forgotten? .venv/bin/python manage.py changepassword {name}"
    name = settings.AMIWEB_ADMIN_USERNAME
    password = settings.AMIWEB_ADMIN_PASSWORD or secrets.token_urlsafe(12)
    users.create_superuser(username=name, password=password)
    starter_groups_make()
    if settings.AMIWEB_ADMIN_PASSWORD:
        return f"Log in as {name} with the password from AMIWEB_ADMIN_PASSWORD."
    tell(f"\n    The first administrator:  {name}\n    with the password:        {password}\n")
    tell("    It is shown this once. Keep it, or change it after the login.\n")
    return f"Log in as {name} with the password shown above."


def place_simulated_servers(var: Path) -> None:
    """On the first start, add the simulated PBXs; later, let those still there follow their ports."""
    from django.conf import settings

    from ami_integration.servers.models import Server
    from ami_integration.simulator import SECRET, USERNAME

    memory = var / "simulated.json"
    try:
        known = json.loads(memory.read_text())
    except (OSError, ValueError):
        known = None
    if known is None:
        known = []
        for (name, notes), port in zip(SIMULATED, settings.AMIWEB_SIMULATOR_PORTS, strict=False):
            server, _ = Server.objects.get_or_create(
                name=name,
                defaults={
                    "host": "127.0.0.1",
                    "port": port,
                    "username": USERNAME,
                    "secret": SECRET,
                    "simulated": True,
                    "notes": notes,
                },
            )
            known.append(server.pk)
        memory.write_text(json.dumps(known))
    for pk, port in zip(known, settings.AMIWEB_SIMULATOR_PORTS, strict=False):
        Server.objects.filter(pk=pk, simulated=True).exclude(port=port).update(port=port)


# The processes


def supervise(var: Path, url: str, login: str) -> None:
    """Run all processes until somebody stops them."""
    from django.conf import settings

    from amiweb import valkey
    from amiweb.processes import commands
    from amiweb.supervisor import Supervisor

    os.environ["PYTHONUNBUFFERED"] = "1"  # what a process says arrives when it says it
    supervisor = Supervisor(folder=var / "run", logs=var / "log")
    broker: list[str] = []
    if settings.AMIWEB_EMBEDDED_VALKEY:
        assert settings.AMIWEB_VALKEY_SOCKET is not None
        broker = [str(settings.AMIWEB_VALKEY_SOCKET)]
        command = valkey.command(socket=settings.AMIWEB_VALKEY_SOCKET, folder=var / "valkey")
        supervisor.keep("valkey", command, options=("--last", "--mute"))
    ports = settings.AMIWEB_SIMULATOR_PORTS
    command_of = commands(port=settings.AMIWEB_PORT, simulator_ports=ports, bind=settings.AMIWEB_BIND)
    supervisor.keep("simulator", command_of["simulator"])
    # The listener may start before the simulator, but then its first words to a newcomer are of a failure.
    supervisor.keep(
        "listener", command_of["listener"], wait_for=[*broker, *(f"127.0.0.1:{port}" for port in ports)]
    )
    for name in ("worker", "ticker", "beat", "web"):
        supervisor.keep(name, command_of[name], wait_for=broker)

    def tell_when_ready() -> None:
        words = wait_for_web(settings.AMIWEB_BIND, settings.AMIWEB_PORT)
        supervisor.say(words or ready_words(url, login, var))

    supervisor.on_start = tell_when_ready
    tell("amiweb: starting")
    supervisor.loop()


def wait_for_web(host: str, port: int) -> str:
    """Wait until the web process answers.

    Returns:
        What to tell if it does not; empty if it does.
    """
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(host, port, timeout=10)
        try:
            connection.request("GET", "/admin/login/")
            if connection.getresponse().status == 200:
                return ""
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    return "The web process does not answer; its log is var/log/web.log."


def ready_words(url: str, login: str, var: Path) -> str:
    """What a newcomer reads when all is up."""
    return f"""
  amiweb runs at  {url}

  {login}
  Then open Live events and watch the calls of the two simulated PBXs, run an action on one of them
  (Action log, Run an action), or add your own Asterisk under Servers.

  Stop: Ctrl-C.  Logs: {var / "log"}.  Only warnings and errors follow here.
"""


if __name__ == "__main__":
    sys.exit(main())
