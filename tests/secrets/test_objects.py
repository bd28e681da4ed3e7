"""Objects that hold secrets tell none when they are printed, copied, pickled or formatted."""

from __future__ import annotations

import copy
import json
import pickle
import traceback

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.forms import model_to_dict
from django.http import QueryDict
from django.test import RequestFactory
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from ami_integration.actions.forms import RunForm
from ami_integration.ami import Action
from ami_integration.servers.forms import ServerForm
from ami_integration.servers.models import Server
from tests.secrets.canaries import Cage
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def cage() -> Cage:
    return Cage()


def leaks(cage: Cage, *texts: bytes | str) -> list[str]:
    return [str(leak) for text in texts for leak in cage.search(text, "what was printed")]


def test_a_server_tells_its_secrets_by_no_way_but_reveal(cage: Cage) -> None:
    secret = cage.canary("AMI secret")
    server = make_server(secret=secret, ssh_key=cage.canary("SSH key"), action_secret=cage.canary("other"))
    again = pickle.loads(pickle.dumps(server))  # noqa: S301 - our own
    assert leaks(
        cage,
        repr(server), str(server), pickle.dumps(server), repr(vars(server)), repr(model_to_dict(server)),
        repr(copy.deepcopy(vars(server))), serializers.serialize("json", [server]), f"{server.secret}",
        json.dumps(model_to_dict(server), default=str), str(Server.objects.filter(pk=server.pk).values()),
    ) == []  # fmt: skip
    assert again.secret.reveal() == copy.deepcopy(server).secret.reveal() == secret


def test_a_form_with_typed_secrets_renders_and_prints_none(cage: Cage) -> None:
    data = {
        "name": "",
        "secret": cage.canary("AMI secret"),
        "ssh_key": cage.canary("SSH key"),
        "transport": "ssh",
    }
    form = ServerForm(data)
    form.viewer = User.objects.create_superuser("root")
    assert not form.is_valid()
    assert leaks(cage, form.as_p(), repr(form), str(form.errors), form.errors.as_json()) == []


def test_an_action_prints_no_value(cage: Cage) -> None:
    action = Action("Login", [("Secret", cage.canary("AMI secret"))])
    assert leaks(cage, repr(action), str(action)) == []


@pytest.mark.parametrize("accept", ["html", "text"])
def test_the_debug_page_shows_no_value(cage: Cage, settings: Settings, accept: str) -> None:
    settings.DEBUG = True
    settings.AMIWEB_REDIS_URL = f"redis://:{cage.canary('password of Valkey')}@127.0.0.1"
    settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": [{"address": settings.AMIWEB_REDIS_URL}]}}}
    posted = QueryDict(mutable=True)
    posted["secret"] = posted["headers"] = posted["csrf"] = cage.canary("AMI secret")
    request = RequestFactory().post("/admin/", posted.dict())
    request.COOKIES["anything"] = cage.canary("session")
    report = ""
    try:
        fails(cage.canary("local variable"))
    except RuntimeError as error:
        reporter = ExceptionReporter(request, RuntimeError, error, error.__traceback__)
        report = reporter.get_traceback_html() if accept == "html" else reporter.get_traceback_text()
        assert leaks(cage, report, traceback.format_exc()) == []
    assert "planted" in report
    if accept == "html":
        assert "words" in report and "&lt;str&gt;" in report  # it still says which variables there were


def fails(words: str) -> None:
    held = [words]
    raise RuntimeError(f"planted over {len(held)} words")


def test_headers_that_somebody_typed_come_back_masked_and_are_not_lost(cage: Cage) -> None:
    user = User.objects.create_superuser("root")
    secret = cage.canary("variable of an Originate")
    typed = f"Channel: PJSIP/100\r\nVariable: API_SECRET={secret}\r\nSecret={secret}\r\nno header"
    data = {"action": "Originate", "headers": typed, "server": [str(make_server().pk)], "unchecked": "on"}
    form = RunForm(data, user=user)
    assert not form.is_valid()
    assert leaks(cage, form.as_p(), str(form["headers"])) == []
    shown = str(form["headers"].value())
    assert "Channel: PJSIP/100\n" in shown and shown.endswith("\nno header")
    lines = shown.split("\n")[:2]
    again = RunForm(
        data | {"headers": "\r\n".join(lines), "kept": form["kept"].value(), "action_id": "0" * 32}, user=user
    )
    assert again.is_valid(), again.errors
    assert again.cleaned_data["headers"][1] == ("Variable", f"API_SECRET={secret}")
    assert again.hidden_by == user.pk


def test_what_is_lent_to_somebody_else_is_not_mixed_with_what_they_type(cage: Cage) -> None:
    user, other = (User.objects.create_superuser(name) for name in ("root", "ada"))
    data = {"action": "Setvar", "headers": f"Secret: {cage.canary('mine')}", "action_id": "x"}
    kept = RunForm(data, user=user)["kept"].value()
    mixed = data | {"headers": "Secret: ********\r\nPin: 4711", "kept": kept}
    assert RunForm(mixed, user=other)["kept"].value() == kept
    assert leaks(cage, str(kept)) == []
