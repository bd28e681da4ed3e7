"""What people, commands and accidents do to amiweb while its secrets are canaries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlencode, urljoin

from django.apps import apps
from django.db.models import Model
from django.urls import URLPattern, URLResolver, get_resolver

from ami_integration.actions.models import ActionRun
from ami_integration.secrets.encryption import EncryptedTextField
from tests.polling import wait_until
from tests.processes import ROOT, Stack
from tests.secrets.visiting import Form, Visitor, forms_of

ADD = "/admin/ami_integration/actionrun/add/"
Headers = list[tuple[str, str]]

#: What stands for the parts of addresses that are no key of a row.
_WORDS = {"app_label": "ami_integration", "name": "Originate", "url": "nothing/of/this/name/"}
#: Forms that would end the exercise.
_NEVER = ("/admin/logout/",)


def run_submit(person: Visitor, server_id: int, action: str, headers: Headers) -> ActionRun:
    """Run an action on one server as a person does, by the form and its preview; gives its row."""
    request_send(person, [server_id], action, headers)
    assert "/actionrun/" in person.location, person.location
    return ActionRun.objects.get(pk=int(person.location.rstrip("/").split("/")[-2]))


def request_send(person: Visitor, servers: list[int], action: str, headers: Headers) -> None:
    """Send a request by the form and its preview; the person is led to what became of it."""
    form = next(form for form in forms_of(person.get(ADD)) if "headers" in form.kinds)
    given = {"action": action, "headers": "\r\n".join(f"{name}: {value}" for name, value in headers)}
    kept = [(name, value) for name, value in form.fields if name not in (*given, "server")]
    chosen = [("server", str(server_id)) for server_id in servers]
    typed = [*kept, *given.items(), *chosen, ("unchecked", "on")]
    page = person.post(ADD, typed)
    if not person.location:
        preview = next((form for form in forms_of(page) if "token" in form.kinds), None)
        assert preview is not None, f"{action} has no preview: {page}"
        phrase = page.partition('data-phrase="')[2].partition('"')[0]
        fields = [(name, value) for name, value in preview.fields if name != "typed"]
        person.post(preview.action, [*fields, ("typed", phrase), ("_run", "Run")])


def run_ended(run: ActionRun, stack: Stack, *, seconds: float = 60) -> str:
    """Wait until a run is over; how it ended."""

    def over() -> bool:
        run.refresh_from_db()
        return run.ended

    wait_until(over, seconds=seconds, what=lambda: f"run {run.pk} ends\n{stack.log('worker')[-3000:]}")
    return run.status


def addresses() -> Iterator[str]:
    """Every address of the site, with the keys of rows that there are in their places."""
    for parts in _patterns(get_resolver().url_patterns, []):
        model = _model_of(parts)
        keys = {word: str(model.pk) for word in ("object_id",)} if model else {}
        text = "/" + "".join(str(part.pattern) for part in parts)
        for word in parts[-1].pattern.regex.groupindex:
            text = _filled(text, word, keys.get(word) or _WORDS.get(word) or _key(word))
        yield text.replace("^", "").replace("$", "")


def _patterns(
    found: Iterable[URLPattern | URLResolver], above: list[URLPattern | URLResolver]
) -> Iterator[list[URLPattern | URLResolver]]:
    for one in found:
        if isinstance(one, URLResolver):
            yield from _patterns(one.url_patterns, [*above, one])
        else:
            yield [*above, one]


def _model_of(parts: list[URLPattern | URLResolver]) -> Model | None:
    path = "".join(str(part.pattern) for part in parts).split("/")
    for label in ("ami_integration", "auth"):
        if label in path[:-1] and (name := path[path.index(label) + 1]) in apps.all_models[label]:
            return apps.get_model(label, name)._default_manager.first()
    return None


def _key(word: str) -> str:
    """The key for `run_id` and its like: that of the newest row."""
    names = {"run": "actionrun", "channel": "alertchannel", "delivery": "alertdelivery"}
    name = word.removesuffix("_id")
    models = apps.all_models["ami_integration"] | apps.all_models["auth"]
    model = models.get(names.get(name, name))
    newest = model._default_manager.order_by("-pk").first() if model is not None else None
    return str(newest.pk) if newest is not None else "1"


def _filled(text: str, word: str, value: str) -> str:
    if f"(?P<{word}>" in text:
        head, _, rest = text.partition(f"(?P<{word}>")
        return head + value + rest.partition(")")[2]
    head, _, rest = text.partition(f"<{word}>")
    if not rest:
        head, _, rest = text.partition(f":{word}>")
        head = head.rpartition("<")[0]
    return head + value + rest


def pages_visit(person: Visitor) -> dict[str, list[Form]]:
    """Get every page; the forms of each."""
    return {path: forms_of(person.get(path)) for path in addresses()}


def forms_fill(person: Visitor, pages: dict[str, list[Form]], typed: str, *, right: bool) -> None:
    """Send every form of every page, with this secret in each field that takes one.

    Args:
        right: as it stands, as far as that is right; false: with values that no form takes.
    """
    ways = [(path, form) for path, forms in pages.items() for form in forms]
    # What takes rows away comes last, or there would be nothing to send the others about.
    for path, form in sorted(ways, key=lambda way: "/delete/" in way[0]):
        target = urljoin(path, form.action)
        if target not in _NEVER and (right or "/delete/" not in path):
            person.post(target, list(_typed(form, typed, right=right)))


def _typed(form: Form, typed: str, *, right: bool) -> Iterator[tuple[str, str]]:
    taken = secret_names()
    for number, (name, value) in enumerate(form.fields):
        kind = form.kinds.get(name, "")
        if kind == "password" or name in taken:
            yield name, typed if right else f"{typed}-{number}"  # so that no password is like its repetition
        elif kind == "hidden" or right:
            yield name, value
        elif name == "headers":
            yield name, f"Variable: API_SECRET={typed}\r\nSecret: {typed}\r\nno header"
        elif kind in ("number", "select", "radio"):
            yield name, "nonsense"
        else:
            yield name, ""
    if right:
        yield "post", "yes"  # what the admin's confirmations ask for


def secret_names() -> set[str]:
    """The names of all encrypted columns, which forms use, too."""
    return {
        column.name
        for model in apps.get_models()
        for column in model._meta.concrete_fields
        if isinstance(column, EncryptedTextField)
    } - {"payload", "hidden"}


def commands_run(lines: list[list[str]], stack: Stack, log: Path, **env: str) -> str:
    """Run management commands with the processes' environment; what they printed, which goes to a log."""
    command = [sys.executable, "-m", "tests.secrets.commands", json.dumps(lines)]
    with log.open("ab") as output:
        subprocess.run(
            command, cwd=ROOT, env=os.environ | stack.env | env, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, check=True, timeout=120,
        )  # fmt: skip
    return log.read_text(errors="replace")


def command_lines(folder: Path) -> list[list[str]]:
    """Every command of ours that ends by itself, with success and with failure where it has both."""
    return [
        ["ami_doctor", "Berlin"], ["ami_doctor", "Cologne"], ["ami_doctor", "Dresden"],
        ["ami_doctor", "Essen"], ["ami_doctor", "Fulda"], ["ami_doctor", "Nobody", "--traceback"],
        ["audit_verify"], ["audit_prune", "--days", "4000"], ["audit_prune", "--days", "1"],
        ["build_catalogue", "Berlin", "--folder", str(folder)],
        ["build_catalogue", "Essen", "--folder", str(folder), "--traceback"],
        ["prune_runs"], ["prune_runs", "--dry-run"], ["rotate_secrets"], ["starter_groups"], ["status"],
        ["sync_catalogue", "Berlin"], ["sync_catalogue", "Essen", "--traceback"],
        ["simulate", "--port", "99999", "--traceback"],
        ["createsuperuser", "--noinput", "--username", "made", "--email", ""], ["changepassword", "Nobody"],
        ["check", "--database", "default"], ["dumpdata", "--output", str(folder / "dumped.json")],
    ]  # fmt: skip


def connection_examine(person: Visitor, path: str, socket: str, typed: dict[str, str]) -> list[str]:
    """Have the connection doctor try what stands in a server's form; what it said."""
    form = next(form for form in forms_of(person.get(path)) if "transport" in form.kinds)
    fields = [(name, typed.get(name, value)) for name, value in form.fields]
    with person.socket(
        socket, json.dumps({"type": "start", "seq": 1, "form": urlencode(fields)})
    ) as messages:
        ends = ('"done"', '"refused"', '"invalid"')
        wait_until(
            lambda: any(end in message for message in messages for end in ends) or person.gone == socket,
            seconds=60,
            what=lambda: f"the doctor is through: {messages}",
        )
    return messages
