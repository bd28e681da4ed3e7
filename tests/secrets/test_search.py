"""The search for canaries finds one in every store and form: a test that can't fail shows nothing."""

from __future__ import annotations

import base64
import binascii
import subprocess
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from django.contrib.sessions.backends.db import SessionStore

from ami_integration.actions.results import Result
from ami_integration.events.stream import EventBatch, StampedEvent
from ami_integration.servers.models import Server
from tests.actions.factories import make_run
from tests.polling import wait_until
from tests.processes import Valkey
from tests.secrets.canaries import Cage
from tests.secrets.stores import Monitor, ProcessList, Text, database_texts, folder_texts, valkey_texts
from tests.secrets.visiting import Form, Visitor, forms_of
from tests.servers.factories import make_server


@pytest.fixture
def cage() -> Cage:
    return Cage()


def found(cage: Cage, texts: Iterable[Text]) -> str:
    return "\n".join(str(leak) for where, data in texts for leak in cage.search(data, where))


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "token: "])
def test_a_canary_is_found_in_every_form(cage: Cage, before: str) -> None:
    secret = cage.canary("AMI secret")
    text = f'{before}{secret}"<ä'.encode()
    for data, form in (
        (text, "in clear"),
        (quote(text).encode(), "in clear"),
        (binascii.hexlify(text), "in hexadecimal"),
        (text.hex().upper().encode(), "in hexadecimal"),
        (base64.b64encode(text), "in base64"),
        (base64.urlsafe_b64encode(text), "in base64"),
        (zlib.compress(text * 3), "in clear"),
        (b"\\\\x" + zlib.compress(text).hex().encode(), "in clear"),
        (b".e" + base64.urlsafe_b64encode(zlib.compress(text * 9))[1:], "in clear"),
    ):
        leaks = list(cage.search(b"{" + data + b"}" if data[0] != 0x78 else data, "a log"))
        assert leaks and {leak.form for leak in leaks} == {form}, data
        assert f"The AMI secret stands {form} in a log" in str(leaks[0])


def test_a_key_is_found_by_the_bytes_that_it_stands_for(cage: Cage) -> None:
    key = cage.key("first key")
    assert list(cage.search(base64.urlsafe_b64decode(key).hex(), "a log"))


def test_what_holds_no_canary_is_clean_and_each_canary_is_told_apart(cage: Cage) -> None:
    first, second = cage.canary("AMI secret"), cage.canary("SSH password")
    assert found(cage, [("a log", b"nothing here" * 1000), ("a dump", Cage().canary("other").encode())]) == ""
    assert "The AMI secret" in found(cage, [("a log", first.encode())])
    assert "The SSH password" in found(cage, [("a log", second.encode())])


@pytest.mark.django_db(transaction=True)
def test_one_in_any_table_is_found(cage: Cage) -> None:
    secret = cage.canary("AMI secret")
    server = make_server(secret=secret)
    assert found(cage, database_texts()) == ""
    Server.objects.filter(pk=server.pk).update(notes=f"its secret is {secret}")
    assert "ami_integration_server" in found(cage, database_texts()) or "dump" in found(
        cage, database_texts()
    )
    Server.objects.filter(pk=server.pk).update(notes="")
    run = make_run(server=server, output="x" * 200 + secret)
    assert "(unpacked)" in found(cage, database_texts())
    run.delete()
    assert found(cage, database_texts()) == ""
    session = SessionStore()
    session["message"] = "x" * 500 + secret
    session.save()
    assert "(unpacked)" in found(cage, database_texts())


def test_one_in_valkey_or_on_the_way_to_it_is_found(cage: Cage, valkey: Valkey) -> None:
    secret = cage.canary("AMI secret")
    batch = EventBatch(1, 0, 0, [StampedEvent(1, 1, f"Event: VarSet\r\nValue: {secret}".encode())])
    packed = zlib.compress(secret.encode() * 3)
    valkey.flush()
    with redis.Redis.from_url(valkey.url) as client, Monitor(valkey.url) as monitor:
        for name, write in {
            "list": lambda key: client.rpush(key, secret),
            "hash": lambda key: client.hset(key, "field", packed),
            "stream": lambda key: client.xadd(key, {"d": batch.encode()}),
            "set": lambda key: client.sadd(key, secret),
            "zset": lambda key: client.zadd(key, {secret: 1}),
            "string": lambda key: client.set(key, base64.b64encode(b"x" + secret.encode())),
        }.items():
            write(f"a {name}")
            assert f"Valkey's key a {name}" in found(cage, valkey_texts(client))
            client.delete(f"a {name}")
            assert found(cage, valkey_texts(client)) == ""
        client.publish("amiweb", packed)
        wait_until(
            lambda: "the stream of commands" in found(cage, monitor.texts()), seconds=10, what="it is told"
        )


def test_one_in_a_file_its_name_or_a_process_list_is_found(cage: Cage, tmp_path: Path) -> None:
    secret = cage.canary("AMI secret")
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "worker.log"
    log.write_text(f"ERROR login with {secret}\n")
    assert "the file worker.log" in found(cage, folder_texts(tmp_path))
    assert found(cage, folder_texts(tmp_path, without=[log])) == ""
    log.unlink()
    (tmp_path / secret).touch()
    assert found(cage, folder_texts(tmp_path))
    with ProcessList() as processes:
        command = [sys.executable, "-c", "import sys; sys.stdin.read()", f"--secret={secret}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE):
            wait_until(lambda: found(cage, processes.texts()), seconds=10, what="the process is seen")


def test_a_form_of_a_page_is_sent_as_it_stands() -> None:
    page = """
        <form method="post" action="x/"><input type="hidden" name="a" value="1">
        <input type="checkbox" name="b"><textarea name="c">\nlines</textarea>
        <select name="d"><option value="2" selected>two</option></select>
        <input type="password" name="e"><input type="submit" name="f" value="Go"></form><form></form>"""
    (form,) = forms_of(page)
    assert isinstance(form, Form) and form.action == "x/"
    assert form.fields == [("a", "1"), ("c", "lines"), ("d", "2"), ("e", "")]
    assert form.kinds["e"] == "password"


def test_what_an_answer_of_the_web_process_says_is_searched(cage: Cage) -> None:
    person = Visitor("ada", 1)
    person.seen.append(("the answer 200 of GET / to ada", f"X-Secret: {cage.canary('AMI secret')}".encode()))
    assert "The AMI secret stands in clear in the answer 200 of GET / to ada" in found(cage, person.seen)


def test_a_result_is_packed_as_the_search_unpacks_it(cage: Cage) -> None:
    from ami_integration.actions.results import result_pack

    data = result_pack(Result(output="x" * 200 + cage.canary("AMI secret")), limit=10_000).data
    assert found(cage, [("a result", data)])
