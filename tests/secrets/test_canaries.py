"""A canary for every secret; every page, command and failure; and none of them is found anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from django.db import connection
from pytest_django import Settings

from ami_integration.actions.models import ActionRun
from ami_integration.events.models import Event
from ami_integration.routing import websocket_urlpatterns
from ami_integration.servers.models import Server
from amiweb.variables import VARIABLES
from tests import postgres
from tests.polling import wait_until
from tests.processes import READY, ROOT, Process, Stack
from tests.schedules.alerts.receivers import MailServer, Receiver, login_as, receiving
from tests.secrets import faults
from tests.secrets.canaries import Cage, Leak, distinct
from tests.secrets.exercising import (
    command_lines,
    commands_run,
    connection_examine,
    forms_fill,
    pages_visit,
    request_send,
    run_ended,
    run_submit,
)
from tests.secrets.planting import (
    FROM_FILE,
    Planted,
    columns_planted,
    environment_plant,
    password_forget,
    password_set,
    rows_plant,
)
from tests.secrets.stores import Monitor, ProcessList, database_texts, folder_texts, valkey_texts
from tests.secrets.visiting import Form, Visitor, forms_of
from tests.simulator.fixtures import Simulator
from tests.sshd import Sshd

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
Status = ActionRun.Status

FAULTY = {"DJANGO_SETTINGS_MODULE": "tests.secrets.faulty"}
#: Commands that run until they are stopped: the stack starts them.
LASTING = {"listen", "record", "simulate"}
#: Pages that are looked at while something is away.
LOOKED_AT = (
    *("/admin/", "/admin/live/", "/admin/status/", "/admin/status/data/", "/admin/ami_integration/server/"),
    *("/admin/ami_integration/actionrun/", "/admin/ami_integration/event/history/"),
)
#: Servers whose secrets are right, each of them somewhere else.
WORKING = {"Berlin", "Cologne", "Hamburg", "Kiel"}
SUBSCRIBE = json.dumps({"type": "subscribe", "seq": 1})


class Run:
    """One exercise: amiweb's processes, two people, and everything that was seen."""

    def __init__(self, stack: Stack, folder: Path, cage: Cage) -> None:
        self.stack, self.folder, self.cage = stack, folder, cage
        self.root, self.reader = Visitor("root", stack.port), Visitor("reader", stack.port)
        self.stranger = Visitor("a stranger", stack.port)

    def start(self, *names: str, **env: str) -> None:
        """Start processes side by side, and wait until all are at work."""
        begun: dict[str, Process] = {name: self.stack.start(name, env=env, wait=False) for name in names}
        for name, process in begun.items():
            ready = READY.get(name, Stack._runs)
            wait_until(lambda: ready(self.stack, process), seconds=90, what=process.log)  # noqa: B023 - now

    def seen(self) -> Iterator[tuple[str, bytes]]:
        for person in (self.root, self.reader, self.stranger):
            yield from person.seen


@pytest.fixture
def cage() -> Cage:
    return Cage()


def test_a_secret_is_nowhere_but_where_it_belongs(
    stack: Stack,
    settings: Settings,
    cage: Cage,
    make_simulator: Callable[..., Simulator],
    sshd: Sshd,
    tmp_path: Path,
) -> None:
    leaks: list[Leak] = []
    logs = tmp_path / "logs"
    stack.folder = logs
    temporary = tmp_path / "tmp"
    files = tmp_path / "secrets"
    for folder in (logs, temporary, files, tmp_path / "catalogue"):
        folder.mkdir()
    stack.env["TMPDIR"] = str(temporary)
    passwords: list[str] = []
    mail = MailServer(
        authenticator=lambda *given: login_as("amiweb", passwords[0])(*given), auth_require_tls=False
    )
    valkey = environment_plant(cage, stack, settings, mail, files)
    passwords.append(stack.env["AMIWEB_SMTP_PASSWORD"])
    run = Run(stack, tmp_path, cage)
    try:
        with (
            mail,
            receiving(500, 200) as receiver,
            ProcessList() as processes,
            Monitor(stack.env["AMIWEB_REDIS_URL"]) as monitor,
        ):
            planted = rows_plant(cage, stack, make_simulator, sshd, receiver)
            pages = exercise(run, planted, receiver)
            empty = [column for column, filled in columns_planted().items() if not filled]
            assert not empty, "encrypted columns without a canary"
            accidents(run, planted, valkey)
            for where, data in database_texts():  # and again at the end: what follows takes rows away
                leaks += cage.search(data, where)
            forms_sent(run, pages)
            with redis.Redis.from_url(stack.env["AMIWEB_REDIS_URL"]) as client:
                for where, data in valkey_texts(client):
                    leaks += cage.search(data, where)
        stack.close()
    finally:
        password_forget(stack, valkey)
    # A login's cookie is a secret, too; its browser is told it, and the database knows it.
    sessions = Cage()
    for person in (run.root, run.reader):
        for value in person.sessions:
            sessions.add(f"session of {person.name}", value)
    for texts in (monitor.texts(), processes.texts(), folder_texts(logs)):
        for where, data in texts:
            leaks += sessions.search(data, where)
    keys = {settings.AMIWEB_VAR_DIR / name for name in ("secret_key", "encryption_keys")}
    for texts in (
        run.seen(),
        monitor.texts(),
        processes.texts(),
        database_texts(),
        folder_texts(tmp_path, without={files / FROM_FILE}),
        folder_texts(settings.AMIWEB_VAR_DIR, without=keys),
    ):
        for where, data in texts:
            leaks += cage.search(data, where)
    assert not leaks, "\n".join(map(str, distinct(leaks)))


def exercise(run: Run, planted: Planted, receiver: Receiver) -> dict[str, list[Form]]:
    """What goes on day by day: people, runs, schedules, alerts, commands; gives the forms of all pages."""
    stack, root = run.stack, run.root
    run.start("web", "worker", "ticker", "beat", "listener")
    assert not root.log_in("root", run.cage.canary("wrong password that somebody typed"))
    for person, name in ((root, "root"), (run.reader, "reader")):
        assert person.log_in(name, planted.passwords[name])
    ends = {}
    with root.socket("/ws/live/", SUBSCRIBE) as live, root.socket("/ws/runs/"):
        berlin = planted.servers["Berlin"].pk
        requests = planted.headers()
        runs = [run_submit(root, berlin, action, headers) for action, headers in requests.items()]
        on = {
            name: run_submit(root, server.pk, "Setvar", planted.headers()["Setvar"])
            for name, server in planted.servers.items()
        }
        runs += on.values()
        told = run_submit(root, berlin, "DBGet", [("Family", "app"), ("Key", "token")])
        runs.append(told)
        runs.append(run_submit(root, berlin, "Command", [("Command", "database show")]))
        two = [planted.servers[name].pk for name in ("Berlin", "Essen")]
        request_send(root, two, "Setvar", planted.headers()["Setvar"])
        fanout = root.location.rstrip("/").split("/")[-2]
        with root.socket(f"/ws/runs/{runs[0].pk}/"), root.socket(f"/ws/fanouts/{fanout}/"):
            ends = {one.pk: run_ended(one, stack) for one in runs}
        assert {name for name, one in on.items() if ends[one.pk] == Status.SUCCEEDED} == WORKING
        assert Status.FAILED in ends.values()
        wait_until(
            lambda: Event.objects.filter(name="VarSet").exists(), seconds=30, what="a VarSet is stored"
        )
        wait_until(lambda: "VarSet" in "".join(live), seconds=30, what="a VarSet is shown")
    wait_until(lambda: len(receiver.requests) > 0, seconds=60, what=lambda: stack.log("listener"))
    for one in runs:
        for page in ("change/", "result/", "export.csv", "export.json", "retry/", "history/"):
            root.get(f"/admin/ami_integration/actionrun/{one.pk}/{page}")
    # The one page that may tell, for the one person who may see it.
    clear = f"/admin/ami_integration/actionrun/{told.pk}/result/clear/"
    assert requests["DBPut"][-1][1] in root.post_for_secrets(clear)
    run.reader.post(clear, [])
    assert run.reader.statuses[f"POST {clear}"] == 403
    imports(run)
    said = examine(run, planted)
    assert any("done" in message for message in said), said
    sockets = {path.removeprefix("/") for path in root.sockets}
    unused = [one for one in websocket_urlpatterns if not any(map(one.pattern.match, sockets))]
    assert not unused, "WebSockets that aren't exercised"
    pages = pages_visit(root)
    assert not [path for path, status in root.statuses.items() if status >= 500]
    pages_visit(run.reader)
    pages_visit(run.stranger)
    typed = run.cage.canary("secret that somebody typed into a form")
    forms_fill(root, pages, typed, right=False)
    forms_fill(run.reader, pages, typed, right=False)
    lines = command_lines(run.folder / "catalogue")
    word = run.cage.canary("password of a superuser who is made")
    log = stack.folder / "commands.log"
    printed = commands_run(lines, stack, log, DJANGO_SUPERUSER_PASSWORD=word)
    ours = {path.stem for path in (ROOT / "ami_integration/management/commands").glob("[a-z]*.py")}
    assert ours - LASTING <= {line[0] for line in lines}, "a command that isn't exercised"
    assert "Nobody" in printed
    # A configuration that is refused, since each of its secrets is malformed.
    bad = {one.name: f"a word {run.cage.canary(one.name)} @" for one in VARIABLES if one.secret}
    log = stack.folder / "refused.log"
    printed = commands_run([["check"]], stack, log, AMIWEB_ENV="production", **bad)
    assert "AMIWEB_DATABASE_URL" in printed and "AMIWEB_ENCRYPTION_KEYS" in printed, printed
    return pages


def examine(run: Run, planted: Planted) -> list[str]:
    """Let the connection doctor try secrets that nobody saved, good ones and others."""
    berlin, said = planted.servers["Berlin"], []
    base = {"name": "New", "host": "127.0.0.1", "port": str(planted.pbx.port), "username": "amiweb"}
    for typed in (
        {"secret": run.cage.canary("AMI secret that was only tried")},
        {"secret": "", "ssh_key": run.cage.canary("SSH key that was only tried"), "transport": "ssh"},
    ):
        said += connection_examine(
            run.root, "/admin/ami_integration/server/add/", "/ws/doctor/", base | typed
        )
    page = f"/admin/ami_integration/server/{berlin.pk}/change/"
    return said + connection_examine(run.root, page, f"/ws/doctor/{berlin.pk}/", {})


def imports(run: Run) -> None:
    """Secrets that come in files: shown, refused, and saved."""
    conf, csv_ = (
        "/admin/ami_integration/server/import/manager-conf/",
        "/admin/ami_integration/server/import/csv/",
    )
    secret, other = (run.cage.canary(f"secret in a {kind}") for kind in ("manager.conf", "CSV file"))
    text = f"[general]\nenabled = yes\n[one]\nsecret = {secret}\nno sign\n[two](gone)\nsecret={secret}2\n"
    chosen = [("a0-chosen", "on"), ("a0-name", "Imported"), ("a0-port", "5038"), ("a0-transport", "tcp")]
    for host in ("not a host", "192.0.2.1"):
        form = next(
            form for form in forms_of(run.root.post(conf, [("text", text)])) if "carried" in form.kinds
        )
        carried = [(name, value) for name, value in form.fields if name == "carried"]
        run.root.post(conf, [*carried, *chosen, ("a0-host", host)])
    for port in ("70000", "5038"):
        text = f"name,host,port,username,secret\nFrom CSV,192.0.2.2,{port},amiweb,{other}\n"
        page = run.root.post(csv_, [("text", text), ("existing", "update")])
    form = next(form for form in forms_of(page) if "carried" in form.kinds)
    run.root.post(csv_, [(name, value) for name, value in form.fields if name == "carried"])
    for name, stored in (("Imported", secret), ("From CSV", other)):
        assert Server.objects.get(name=name).secret.reveal() == stored


def accidents(run: Run, planted: Planted, valkey: str) -> None:
    """What goes wrong: a worker that dies, mistakes of amiweb, Valkey and the database away."""
    stack, root = run.stack, run.root
    berlin = planted.servers["Berlin"].pk
    planted.pbx.hang("Setvar")
    hanging = run_submit(root, berlin, "Setvar", planted.headers()["Setvar"])
    wait_until(lambda: _status(hanging) == Status.RUNNING, seconds=30, what="it is being executed")
    stack.kill("worker")
    planted.pbx.unhang("Setvar")
    stack.stop("web")
    run.start("web", AMIWEB_DEBUG="1", **FAULTY)
    run.start("worker", **FAULTY)
    for action in (faults.IN_THE_CLIENT, faults.IN_THE_TASK):
        broken = run_submit(root, berlin, action, planted.headers()[action])
        if action == faults.IN_THE_CLIENT:
            assert run_ended(broken, stack) == Status.ERRORED
            root.get(f"/admin/ami_integration/actionrun/{broken.pk}/change/")
    examine(run, planted)
    stack.valkey.kill()
    for path in LOOKED_AT:
        root.get(path)
        run.reader.get(path)
    request_send(root, [berlin], "UpdateConfig", planted.headers()["UpdateConfig"])
    stack.valkey.start()
    password_set(stack, "", valkey)
    if connection.vendor == "postgresql":
        connection.close()
        postgres.cluster().kill()
        for path in LOOKED_AT:
            root.get(path)
        root.post("/admin/login/", [("username", "root"), ("password", planted.passwords["root"])])
        lines = [["status", "--traceback"], ["rotate_secrets"], ["ami_doctor", "Berlin", "--traceback"]]
        commands_run(lines, stack, stack.folder / "commands.log")
        postgres.cluster().restart()
    wait_until(lambda: _status(hanging) == Status.UNKNOWN, seconds=120, what=lambda: stack.log("listener"))


def forms_sent(run: Run, pages: dict[str, list[Form]]) -> None:
    """Every form as it stands, under the debug pages; in the end those that delete what there is."""
    forms_fill(run.root, pages, run.cage.canary("secret in a form that met a mistake"), right=True)
    assert any(b"planted in a form" in data for _, data in run.root.seen), "no debug page was shown"


def _status(run: ActionRun) -> str:
    run.refresh_from_db()
    return run.status
