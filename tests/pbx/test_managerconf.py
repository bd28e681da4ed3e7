"""What amiweb reads in a manager.conf is what Asterisk reads there: accounts, classes, and each secret."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ami_integration.ami import TCP, AMIClient
from ami_integration.servers.managerconf import ManagerConf, conf_read
from tests.pbx.asterisk import Asterisk
from tests.pbx.fixtures import SUITE_OF, prepared

pytestmark = pytest.mark.pbx

TRICKY = (
    """
;-- a block
[hidden]
secret = x
;-- deeper --;
[hidden-too]
--;
[base](!)
read = system,call
secret = inherited
permit = 127.0.0.1/255.255.255.255
[inheriting](base)
write = originate
[overriding](base)
secret = own ; of its own
read = agent
[base](+TEMPLATES=restrict)
read = user
[late](base)
[both](base,inheriting)
[escaped]
secret = a\\;b ;-- gone --;c
read => call
[twice]
secret = first
secret = last
[TWICE](+)
write = call
[appended]
secret = one
secret += two
[spaced]
  secret\t=\t has blanks within \t
[dashes] ;--- no block
secret = a--b
[inline] ;-- [gone]
secret = gone
--; secret = stays
[same]
secret = 1st
read = call
[same]
secret = 2nd
[nosecret]
read = call
#tryinclude "not-there.conf"
[crlf]\r
secret = ends\r
read = call\r
[long]
secret = short
"""
    + f"secret = {'x' * 9000}\n"
    + """no equality here
[words]
secret = pässwörd€
write = originate,user
"""
)
REFUSED = (
    "[open\nsecret = x\n",
    "[open](base\nsecret = x\n",
    "[child](not-there)\nsecret = x\n",
    "[not-there](+)\nsecret = x\n",
    "[base](!)\nsecret = x\n[base](+)\nread = call\n",
    "[plain]\nsecret = x\n[plain](+TEMPLATES=restrict)\nread = call\n",
    "[a]\n\\ = x\n",
)
ODD = (
    "[before]\nsecret = x\nread = call --;\n[after]\nsecret = y\n",
    "[before]\nsecret = x\n;-- no end\n[after]\nsecret = y\n",
    "[before]\nsecret = x\n; no block --;\n[after]\nsecret = y\n",
    "[before]\nsecret = x\n;-- a --; [after]\nsecret = y\n",
    "[before]\nsecret = x\n;--- a\n[after]\nsecret = y\n",
    "[before]\nsecret = x\n;--[after]--;\nread = call\n;----\n[last]\nsecret = z\n",
    "[before]\nsecret = x\n[ within ]\nsecret = y\n[](!)\nread = call\n[a](!,!)\n[b](a)\nsecret = z\n",
    "#define x\n#include\n[before]\nsecret = x\n= y\n",
    f"[{'n' * 100}]\nsecret = x\n",
)


@pytest.fixture(scope="module", params=list(SUITE_OF))
def pbx(request: pytest.FixtureRequest) -> Iterator[tuple[Asterisk, str]]:
    """An Asterisk, and the text of its manager.conf, for tests that rewrite it."""
    asterisk = prepared(request.param)
    text = (asterisk.folder / "etc" / "manager.conf").read_text()
    with asterisk:
        yield asterisk, text


def reloaded(pbx: tuple[Asterisk, str], more: str) -> tuple[ManagerConf, list[str]]:
    """What amiweb reads in the file with this behind it, and the accounts that Asterisk has then."""
    asterisk, text = pbx
    (asterisk.folder / "etc" / "manager.conf").write_bytes((text + more).encode())
    asterisk.cli("manager reload")
    lines = asterisk.cli("manager show users").splitlines()
    ruled = [at for at, line in enumerate(lines) if re.fullmatch(r"-{4,}\s*", line)]
    return conf_read(text + more), lines[ruled[0] + 1 : ruled[1]]


def told(asterisk: Asterisk, name: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in asterisk.cli(f'manager show user "{name}"').splitlines())
    return {label.strip(): value.strip() for label, _, value in pairs}


def classes(text: str) -> set[str]:
    return set(text.replace("<none>", "").split(",")) - {""}


def test_accounts_their_classes_and_their_secrets_are_those_of_asterisk(pbx: tuple[Asterisk, str]) -> None:
    asterisk, _ = pbx
    conf, names = reloaded(pbx, TRICKY)
    assert not conf.refused
    assert sorted(names) == sorted(account.name for account in conf.accounts)
    assert "inheriting" in names and "hidden" not in names
    for account in conf.accounts:
        said = told(asterisk, account.name)
        if "all" not in account.read + account.write:
            assert classes(said["read perm"]) == classes(account.read), account
            assert classes(said["write perm"]) == classes(account.write), account
        assert (said["secret"] == "<Set>") == bool(account.secret), account
        assert ("unnamed" in said["ACL"]) == bool(account.rules), account
        if account.secret:
            way = TCP(asterisk.host, asterisk.port)
            with AMIClient(way, username=account.name, secret=account.secret):
                pass  # it raises LoginFailed for another secret than the PBX has


@pytest.mark.parametrize("more", REFUSED)
def test_a_file_that_is_said_to_be_refused_is(pbx: tuple[Asterisk, str], more: str) -> None:
    reloaded(pbx, "")
    conf, names = reloaded(pbx, f"[probe]\nsecret = x\n{more}")
    assert conf.refused and "probe" not in names
    conf, names = reloaded(pbx, "[probe]\nsecret = x\n")
    assert not conf.refused and "probe" in names


@pytest.mark.parametrize("more", ODD)
def test_oddities_are_read_alike(pbx: tuple[Asterisk, str], more: str) -> None:
    conf, names = reloaded(pbx, more)
    assert not conf.refused
    assert sorted(names) == sorted(account.name for account in conf.accounts)


def test_get_config_answers_no_line_that_asterisk_carries_out_or_takes_from_elsewhere(
    pbx: tuple[Asterisk, str],
) -> None:
    """A command's password in an `#exec` line can't be read by AMI."""
    asterisk, _ = pbx
    folder = asterisk.folder / "etc"
    (folder / "more.conf").write_text("[taken]\nfrom = elsewhere\n")
    lines = "#exec /bin/true --password hunter2", "[own]", "one = 1", '#include "more.conf"'
    (folder / "amiweb.conf").write_text("\n".join(lines) + "\n")
    username, secret = asterisk.users["admin"]
    with AMIClient(TCP(asterisk.host, asterisk.port), username=username, secret=secret) as client:
        reply = client.action("GetConfig", {"Filename": "amiweb.conf"})
        said = reply.response.text
    assert "one=1" in said and "from=elsewhere" in said
    assert "hunter2" not in said and "#" not in said
