"""`make run` as a newcomer types it: one command, real processes, SQLite, embedded Valkey, simulated PBXs.

Each trial has a var folder and ports of its own, save the newcomer's, who gets the default ones: one test
alone takes those, since a trial beside it would move them. Tests that leave a trial running share one. The
environment is the one that the tests run in. What the terminal sends to a whole process group (Ctrl-C, the
terminal's end) goes to the whole group here too.
"""

from __future__ import annotations

import ctypes
import http.cookiejar
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from amiweb import keeper
from amiweb.trial import web_address
from tests.pbx.asterisk import free_ports
from tests.polling import wait_until
from tests.processes import ROOT
from tests.simulator.fixtures import Simulator
from tests.trial import START, STOP, Trial

pytestmark = pytest.mark.processes


def all_gone(pids: set[int]) -> bool:
    return all(keeper.start_time(pid) is None for pid in pids)


def with_own_ports(environment: dict[str, str]) -> dict[str, str]:
    web, *simulators = map(str, free_ports(3))
    return {"AMIWEB_PORT": web, "AMIWEB_SIMULATOR_PORTS": ",".join(simulators)} | environment


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Callable[..., Trial]]:
    started: list[Trial] = []

    def start(var: Path = tmp_path / "var", *, default_ports: bool = False, **environment: str) -> Trial:
        started.append(Trial(var, **(environment if default_ports else with_own_ports(environment))))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A trial that is ready, for tests that leave it so. Its administrator comes from the environment."""
    account = {"AMIWEB_ADMIN_USERNAME": "root", "AMIWEB_ADMIN_PASSWORD": "a-fine-password"}
    shared = Trial(tmp_path_factory.mktemp("trial") / "var", **with_own_ports(account))
    try:
        shared.until_ready()
        yield shared
    finally:
        shared.close()


def valkey_of(run: Trial) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(run.var / "valkey.sock"), decode_responses=True)


def test_newcomer_gets_a_password_once_two_live_pbxs_and_a_clean_end_beside_a_second_checkout(
    trial: Callable[..., Trial], tmp_path: Path
) -> None:
    first = trial(default_ports=True)
    beside = trial(tmp_path / "beside", default_ports=True)
    address = first.until_ready()
    assert beside.until_ready() != address
    ports = "SELECT port FROM ami_integration_server"
    assert len({*first.rows(ports), *beside.rows(ports)}) == 4
    printed = first.output()
    password = re.search(r"administrator:  admin\n +with the password: +(\S{12,})\n", printed)
    assert password is not None, printed
    assert log_in(address, "admin", password[1])

    servers = first.rows("SELECT name, host, port, simulated FROM ami_integration_server")
    assert len(servers) == 2
    assert all(host == "127.0.0.1" and port != 5038 and simulated for _, host, port, simulated in servers)
    online = "SELECT count(*) FROM ami_integration_serverhealth WHERE state = 'online'"
    wait_until(
        lambda: first.rows(online) == [(2,)],
        seconds=30,
        what=lambda: f"both PBXs are online: {first.output()}",
    )
    events = "SELECT count(DISTINCT server_id) FROM ami_integration_event"
    wait_until(
        lambda: first.rows(events) == [(2,)], seconds=30, what=lambda: f"events of both: {first.output()}"
    )
    assert [line for line in first.output().splitlines() if " | " in line] == [], "nothing to warn of"

    with valkey_of(first) as client:
        client.set("kept", "over a restart")

    mine = first.processes()
    assert len(mine) > 12
    first.interrupt()
    first.ended(STOP)
    assert all_gone(mine)
    assert "amiweb has stopped." in first.output()
    assert not list((first.var / "run").glob("*.json"))

    began = time.monotonic()
    second = trial(default_ports=True)
    assert second.until_ready() == address
    assert time.monotonic() - began < 30
    assert "with the password" not in second.output()
    assert "Log in as admin" in second.output()
    assert second.rows("SELECT count(*) FROM ami_integration_server") == [(2,)]
    assert log_in(address, "admin", password[1])
    with valkey_of(second) as client:
        assert client.get("kept") == "over a restart"


def log_in(address: str, username: str, password: str) -> bool:
    """Log in to the admin as a browser does; true if it let us in."""
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    page = browser.open(f"{address}admin/login/?next=/admin/").read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token is not None
    form = {"username": username, "password": password, "csrfmiddlewaretoken": token[1], "next": "/admin/"}
    with browser.open(f"{address}admin/login/", urllib.parse.urlencode(form).encode()) as answer:
        return bool(answer.url.endswith("/admin/"))


def test_administrator_from_the_environment_is_made_without_printing_the_password(running: Trial) -> None:
    assert "a-fine-password" not in running.output()
    assert log_in(running.until_ready(), "root", "a-fine-password")


def test_embedded_valkey_has_no_port_and_is_told_to_keep_what_it_holds(running: Trial) -> None:
    with valkey_of(running) as client:
        settings = client.config_get("port", "appendonly", "unixsocketperm")
        pid = client.info("server")["process_id"]
    assert settings == {"port": "0", "appendonly": "yes", "unixsocketperm": "700"}
    assert running.child("valkey") == pid
    assert open_sockets(pid) & sockets("unix"), "this way of looking finds sockets at all"
    assert not open_sockets(pid) & (sockets("tcp") | sockets("tcp6"))


def open_sockets(pid: int) -> set[str]:
    """The inodes of the sockets that a process holds."""
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def sockets(kind: str) -> set[str]:
    """The inodes of this machine's sockets of one kind, as /proc/net lists them."""
    column = 6 if kind == "unix" else 9
    lines = Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    return {line.split()[column] for line in lines}


def test_killed_worker_is_back_within_seconds(running: Trial) -> None:
    worker = running.child("worker")
    os.kill(worker, signal.SIGKILL)
    running.until("WARNING worker ended by itself (SIGKILL)")
    wait_until(lambda: running.child("worker") != worker, seconds=15, what="a new worker")


def test_killed_supervisor_leaves_no_process_behind(trial: Callable[..., Trial]) -> None:
    run = trial()
    run.until_ready()
    mine = run.processes()
    os.kill(run.supervisor(), signal.SIGKILL)
    run.ended(15)
    wait_until(lambda: all_gone(mine), seconds=15, what="all processes are gone")


def test_killed_make_leaves_no_process_behind(trial: Callable[..., Trial]) -> None:
    run = trial()
    run.until_ready()
    mine = run.processes()
    run.process.kill()
    wait_until(lambda: all_gone(mine), seconds=15, what="all processes are gone")


@pytest.mark.parametrize("told", [True, False], ids=["with SIGHUP", "without a word"])
def test_closed_terminal_leaves_no_process_behind(trial: Callable[..., Trial], told: bool) -> None:
    run = trial()
    run.until_ready()
    mine = run.processes()
    os.close(run.terminal)
    run.terminal = -1
    if told:
        os.killpg(run.process.pid, signal.SIGHUP)  # to the terminal's foreground group
    run.process.wait(STOP)
    wait_until(lambda: all_gone(mine), seconds=15, what="all processes are gone")
    assert not list((run.var / "run").glob("*.json"))


def test_ctrl_c_while_it_starts_leaves_no_process_behind(trial: Callable[..., Trial]) -> None:
    run = trial()
    run.until("amiweb: starting")
    mine = run.processes()
    run.interrupt()
    run.ended(STOP)
    wait_until(lambda: all_gone(mine), seconds=5, what="all processes are gone")
    assert "Traceback" not in run.output()


def test_ctrl_c_during_a_run_ends_within_the_promise_and_leaves_no_process_behind(
    trial: Callable[..., Trial], simulator: Simulator
) -> None:
    simulator.hang("Ping")
    run = trial()
    run.until_ready()
    manage(
        run,
        f"""
from ami_integration.actions.services import run_submit
from ami_integration.servers.models import Server
server = Server.objects.create(
    name="It hangs", host={simulator.host!r}, port={simulator.port},
    username={simulator.username!r}, secret={simulator.secret!r},
)
run_submit(user=None, server=server, action="Ping", headers=[], origin="command")
""",
    )
    running = "SELECT count(*) FROM ami_integration_actionrun WHERE status = 'running'"
    wait_until(lambda: run.rows(running) == [(1,)], seconds=20, what=lambda: f"it runs: {statuses(run)}")
    mine = run.processes()
    run.interrupt()
    run.ended(STOP)
    wait_until(lambda: all_gone(mine), seconds=1, what="all processes are gone")


def statuses(run: Trial) -> list[tuple[object, ...]]:
    return run.rows("SELECT status, reason FROM ami_integration_actionrun")


def manage(run: Trial, program: str) -> None:
    """Do something in the trial's own database, as a shell of Django's does."""
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", program],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "AMIWEB_VAR_DIR": str(run.var)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("bind", "shown"), [("127.0.0.1", "http://127.0.0.1:8765/"), ("::1", "http://[::1]:8765/")]
)
def test_the_address_is_one_that_a_browser_takes(bind: str, shown: str) -> None:
    assert web_address(bind, 8765) == shown


def test_second_start_in_the_same_folder_is_one_clear_line(
    running: Trial, trial: Callable[..., Trial]
) -> None:
    again = trial(running.var)
    assert again.ended(START) != 0
    line = the_one_line(again)
    assert "runs already" in line
    assert running.until_ready() in line
    assert f"process {running.supervisor()}" in line


def the_one_line(run: Trial) -> str:
    """What amiweb said instead of starting; make adds a line of its own."""
    lines = [line for line in run.output().splitlines() if line and not line.startswith("make: ")]
    assert len(lines) == 1, run.output()
    assert lines[0].startswith("amiweb: ")
    return lines[0]


def test_configured_port_in_use_is_one_clear_line(trial: Callable[..., Trial]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = trial(AMIWEB_PORT=str(port))
        assert run.ended(START) != 0
        line = the_one_line(run)
        assert f"port {port} of 127.0.0.1 is in use" in line
        assert "AMIWEB_PORT" in line


def test_configured_simulator_port_in_use_is_one_clear_line(trial: Callable[..., Trial]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = trial(AMIWEB_SIMULATOR_PORTS=f"{free_ports(1)[0]},{port}")
        assert run.ended(START) != 0
        assert "AMIWEB_SIMULATOR_PORTS" in the_one_line(run)


def test_folder_that_cannot_be_made_is_one_clear_line(trial: Callable[..., Trial], tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("")
    run = trial(tmp_path / "a-file" / "var")
    assert run.ended(START) != 0
    line = the_one_line(run)
    assert f"can't write to the folder {tmp_path / 'a-file' / 'var'}" in line
    assert "AMIWEB_VAR_DIR" in line


def test_folder_of_another_user_is_one_clear_line(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        var = tmp_path / "var"
        var.mkdir(mode=0o755)
        os.chown(var, 65534, 65534)
    else:
        var = Path("/usr")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from amiweb import trial; sys.exit(trial.main())"],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "AMIWEB_VAR_DIR": str(var)},
        capture_output=True, text=True, check=False, preexec_fn=drop_privileges,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"amiweb: can't write to the folder {var} (Permission denied)")


def drop_privileges() -> None:
    """Let what is executed next respect the permissions of files, even if root executes it."""
    libc = ctypes.CDLL(None)
    for capability in range(64):  # more than there are
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


PR_CAPBSET_DROP = 24


def test_production_settings_are_refused_in_one_clear_line(trial: Callable[..., Trial]) -> None:
    run = trial(
        AMIWEB_ENV="production",
        AMIWEB_SECRET_KEY="0123456789" * 6,
        AMIWEB_ENCRYPTION_KEYS="k1:" + "A" * 43 + "=",
        AMIWEB_DATABASE_URL="postgres://nobody@127.0.0.1/nothing",
        AMIWEB_REDIS_URL="redis://127.0.0.1:1/0",
        AMIWEB_ALLOWED_HOSTS="amiweb.example.com",
    )
    assert run.ended(START) != 0
    assert "AMIWEB_ENV=production" in the_one_line(run)


def test_leftover_of_an_earlier_run_is_named_and_ended_and_a_strangers_process_is_not(
    trial: Callable[..., Trial], tmp_path: Path
) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    leftover, stranger = subprocess.Popen(sleep), subprocess.Popen(sleep)
    try:
        folder = tmp_path / "var" / "run"
        folder.mkdir(parents=True, mode=0o700)
        folder.parent.chmod(0o700)
        known = [[leftover.pid, keeper.start_time(leftover.pid)], [stranger.pid, "1"]]
        (folder / "worker.json").write_text(json.dumps({"name": "worker", "processes": known}))
        run = trial()
        run.until(f"ending a left-over of an earlier run: worker (process {leftover.pid})")
        wait_until(lambda: leftover.poll() is not None, seconds=15, what="the left-over is gone")
        run.until_ready()
        assert stranger.poll() is None
        assert str(stranger.pid) not in run.output()
    finally:
        for process in (leftover, stranger):
            process.kill()
            process.wait()
