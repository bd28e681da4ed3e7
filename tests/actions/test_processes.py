"""Runs through real processes: a worker that is killed, a broker that is away, messages that come twice."""

from __future__ import annotations

import http.client
import os
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from ami_integration.actions import doorbell, services
from ami_integration.actions.models import ActionRun
from ami_integration.actions.watch import runs_reap, runs_sweep
from ami_integration.servers.slots import slots_used
from amiweb.processes import commands
from tests.actions.factories import make_operator, make_run
from tests.ami.scripted import Peer, scripted, served
from tests.polling import wait_until
from tests.processes import Process, Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
Status = ActionRun.Status


def status(run: ActionRun) -> str:
    run.refresh_from_db()
    return run.status


def wait_for(run: ActionRun, wanted: str, *, seconds: float, stack: Stack) -> None:
    def what() -> str:
        return (
            f"run {run.pk} is {wanted} (it is {run.status}: {run.reason}); the worker:\n{stack.log('worker')}"
        )

    wait_until(lambda: status(run) == wanted, seconds=seconds, what=what)


def submit(**values: object) -> ActionRun:
    values = {"user": None, "origin": "command", "action": "Ping", "headers": []} | values
    return services.run_submit(**values)  # type: ignore[arg-type]


def answers_pings(peer: Peer) -> None:
    peer.log_in()
    peer.answer(peer.hear(), "Ping: Pong")
    peer.hear()


def test_a_submitted_run_is_executed_by_the_worker(stack: Stack) -> None:
    stack.start("worker")
    with scripted(answers_pings) as transport:
        run = submit(server=make_server(transport))
        wait_for(run, Status.SUCCEEDED, seconds=15, stack=stack)
    assert ["Ping", "Pong"] in run.response


def test_a_worker_killed_during_a_run_leaves_it_unknown_with_its_reason(stack: Stack) -> None:
    reached = threading.Event()
    pings: Counter[str] = Counter()

    def hangs(peer: Peer) -> None:
        peer.log_in()
        pings[peer.hear().name] += 1
        reached.set()
        peer.hear()

    stack.start("worker")
    with scripted(hangs, hangs) as transport:
        run = submit(server=make_server(transport))
        assert reached.wait(30)
        killed = timezone.now()
        stack.kill("worker")
        stack.start("worker")  # another worker in its place must not take the run up again

        def given_up() -> bool:
            # What the listener does every few seconds.
            runs_sweep()
            runs_reap()
            return status(run) != Status.RUNNING

        wait_until(given_up, seconds=120, what="the run is given up", step=1)
    assert run.status == Status.UNKNOWN
    assert "showed no sign of life any more" in run.reason
    assert run.finished_at is not None
    assert (run.finished_at - killed).total_seconds() < 120  # three times the promise of 40 s
    assert pings == {"Ping": 1}


def test_messages_that_come_twice_execute_a_run_once(stack: Stack) -> None:
    sent: Counter[str] = Counter()

    def answers(peer: Peer) -> None:
        peer.log_in()
        while True:
            action = peer.hear()
            if action.name != "Logoff":
                sent[action.action_id or ""] += 1
            peer.answer(action, "Ping: Pong")

    with served(answers) as transport:
        server = make_server(transport)
        runs = [make_run(server=server) for _ in range(20)]
        for _ in range(3):
            doorbell.ring([run.pk for run in runs])
        stack.start("worker")
        for run in runs:
            wait_for(run, Status.SUCCEEDED, seconds=60, stack=stack)
        wait_until(
            lambda: stack.log("worker").count("succeeded in") >= 60,
            seconds=60,
            what=lambda: f"all messages are dealt with:\n{stack.log('worker')}",
        )
    assert {run.action_id: 1 for run in runs} == dict(sent)


def test_two_workers_together_have_no_more_sessions_than_the_server_may(stack: Stack, tmp_path: Path) -> None:
    open_now = most = 0
    lock = threading.Lock()

    def counts(peer: Peer) -> None:
        nonlocal open_now, most
        with lock:
            open_now += 1
            most = max(most, open_now)
        try:
            peer.log_in()
            while True:
                peer.answer(peer.hear(), "Ping: Pong")
        finally:
            with lock:
                open_now -= 1

    stack.start("worker")
    command = [*commands(port=stack.port, simulator_ports=())["worker"], "--hostname", "second@%h"]
    second = Process(command, log=tmp_path / "second.log", env=os.environ | stack.env)
    try:
        wait_until(lambda: " ready." in second.log(), seconds=45, what=second.log)
        with served(counts) as transport:
            server = make_server(transport, max_sessions=2)
            runs = [make_run(server=server) for _ in range(40)]
            doorbell.ring([run.pk for run in runs])

            def all_succeeded() -> bool:
                runs_sweep()
                return ActionRun.objects.filter(status=Status.SUCCEEDED).count() == len(runs)

            wait_until(all_succeeded, seconds=60, what=lambda: stack.log("worker") + second.log(), step=0.5)
    finally:
        second.end()
    assert "it may have 2 at once" in stack.log("worker") + second.log()
    assert most <= 2


def test_a_run_submitted_while_the_broker_is_away_is_executed_when_it_is_back(stack: Stack) -> None:
    stack.start("worker")
    with scripted(answers_pings) as transport:
        server = make_server(transport)
        stack.valkey.kill()
        run = submit(server=server)
        assert (status(run), run.rung_at) == (Status.QUEUED, None)
        stack.valkey.start()

        def executed() -> bool:
            runs_sweep()  # what the listener does every few seconds
            return status(run) == Status.SUCCEEDED

        wait_until(executed, seconds=90, what=lambda: stack.log("worker"), step=1)


def ask(stack: Stack, method: str, path: str, *, cookies: dict[str, str], form: str = "") -> tuple[str, str]:
    """One request to the real web process: the page, and where it redirects to. Cookies are kept."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    if form:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        connection.request(method, path, body=form, headers=headers)
        response = connection.getresponse()
        page = response.read().decode()
        assert response.status in (200, 302), page
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            cookies[name] = value
        return page, response.headers.get("Location", "")
    finally:
        connection.close()


def test_with_the_broker_away_the_form_leads_to_a_page_and_to_no_error(stack: Stack) -> None:
    client = Client()
    client.force_login(make_operator())
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    cookies = {f"amiweb-session-{stack.port}": session}
    server = make_server()
    stack.start("web")
    stack.valkey.kill()
    path = "/admin/ami_integration/actionrun/add/"
    page, _ = ask(stack, "GET", path, cookies=cookies)
    hidden = {
        name: page.partition(f'name="{name}" value="')[2].partition('"')[0]
        for name in ("csrfmiddlewaretoken", "action_id")
    }
    form = urlencode({**hidden, "server": server.pk, "action": "Ping", "headers": ""})
    _, location = ask(stack, "POST", path, cookies=cookies, form=form)
    assert location.endswith(f"/{ActionRun.objects.get().pk}/change/")
    page, _ = ask(stack, "GET", location, cookies=cookies)
    assert "waiting: task queue unreachable" in page
    assert "Traceback" not in stack.log("web")


def test_a_worker_that_is_stopped_logs_off_and_gives_its_sessions_up(stack: Stack) -> None:
    said: list[str] = []

    def pings(peer: Peer) -> None:
        peer.log_in()
        while True:
            action = peer.hear()
            said.append(action.name)
            peer.answer(action, "Ping: Pong")

    stack.start("worker")
    with served(pings) as transport:
        run = submit(server=make_server(transport))
        wait_for(run, Status.SUCCEEDED, seconds=30, stack=stack)
        assert slots_used(server_id=run.server_id or 0) == 1
        stack.stop("worker")
        wait_until(lambda: said == ["Ping", "Logoff"], seconds=5, what=lambda: f"it logs off: {said}")
        assert slots_used(server_id=run.server_id or 0) == 0
