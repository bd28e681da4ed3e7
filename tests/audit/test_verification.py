"""What somebody did who could drop the triggers, and how it shows."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ami_integration.audit.models import AuditEntry, AuditSeal
from ami_integration.audit.sealed import seal_line
from ami_integration.audit.seals import entries_seal, hashes_of, hashes_pack, seal_digest
from ami_integration.audit.services import entry_write
from ami_integration.audit.verification import NAMED, Verification, audit_verify
from tests.audit.tampering import unguarded

pytestmark = pytest.mark.django_db


def write(name: str) -> AuditEntry:
    return entry_write(actor=None, origin="command", verb="server.change", object_name=name, what={"n": name})


@pytest.fixture
def sealed() -> list[AuditEntry]:
    """Six entries under three seals, and one that has none yet."""
    entries = []
    for number in range(6):
        entries.append(write(str(number)))
        if number % 2:
            assert entries_seal() is not None
    return [*entries, write("not sealed yet")]


def told() -> list[dict[str, Any]]:
    seals = AuditSeal.objects.order_by("number")
    return [{"number": seal.number, "digest": seal.digest} for seal in seals]


def entry(number: int) -> Any:
    return AuditEntry.objects.filter(pk=number)


def test_an_audit_that_nobody_touched_is_intact(sealed: list[AuditEntry]) -> None:
    found = audit_verify(told=told())
    assert (found.problems, found.notes) == ([], [])
    assert (found.seals, found.entries, found.unsealed) == (3, 6, 1)
    assert found.oldest_unsealed == sealed[-1].at


@pytest.mark.parametrize(
    "change",
    [
        {"object_name": "other"},
        {"what": {}},
        {"actor_name": "eve"},
        {"at": "2020-01-01T00:00:00Z"},
        {"outcome": "refused"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_entry_is_named(sealed: list[AuditEntry], change: dict[str, Any]) -> None:
    with unguarded():
        entry(sealed[2].pk).update(**change)
    assert audit_verify().problems == [f"Entry {sealed[2].pk} was changed since seal 2."]


def test_a_removed_entry_is_named(sealed: list[AuditEntry]) -> None:
    with unguarded():
        entry(sealed[3].pk).delete()
    assert audit_verify().problems == [f"Entry {sealed[3].pk} is missing: seal 2 has it."]


def test_an_inserted_entry_is_named_whatever_seal_it_claims(sealed: list[AuditEntry]) -> None:
    with unguarded():
        mine = [AuditEntry.objects.create(origin="command", verb="x", seal_id=seal).pk for seal in (2, 9, -1)]
    assert audit_verify().problems == [
        f"Entry {mine[0]} was inserted: seal 2 doesn't have it.",
        f"Entry {mine[2]} names a seal that doesn't exist.",
        f"Entry {mine[1]} names a seal behind the last one.",
    ]


def test_an_entry_that_is_made_to_look_unsealed_is_missed(sealed: list[AuditEntry]) -> None:
    with unguarded():
        entry(sealed[0].pk).update(seal=None, verb="y")
    assert audit_verify().problems == [f"Entry {sealed[0].pk} is missing: seal 1 has it."]
    entries_seal()
    assert not audit_verify().ok


def test_a_seal_that_was_made_to_fit_breaks_the_chain_behind_it(sealed: list[AuditEntry]) -> None:
    outside = told()
    with unguarded():
        entry(sealed[2].pk).update(verb="y")
        seal = AuditSeal.objects.get(number=2)
        seal.hashes = hashes_pack(hashes_of(AuditEntry.objects.filter(seal=seal).order_by("pk")))
        seal.save()
        assert audit_verify().problems == ["Seal 2 was changed itself."]
        seal.digest = seal_digest(seal)
        seal.save()
    follows = "Seal 3 doesn't follow the one before it: one of both was changed."
    assert audit_verify().problems == [follows]
    assert audit_verify(told=outside).problems == [follows, "Seal 2 isn't the one that was told outside."]


def test_a_chain_that_was_rewritten_to_its_end_shows_by_what_was_told_outside(
    sealed: list[AuditEntry],
) -> None:
    outside = told()
    with unguarded():
        entry(sealed[5].pk).update(verb="y")
        seal = AuditSeal.objects.get(number=3)
        seal.hashes = hashes_pack(hashes_of(AuditEntry.objects.filter(seal=seal).order_by("pk")))
        seal.digest = seal_digest(seal)
        seal.save()
    assert audit_verify().ok
    assert audit_verify(told=outside).problems == ["Seal 3 isn't the one that was told outside."]


def test_seals_whose_hashes_are_no_hashes_are_changed(sealed: list[AuditEntry]) -> None:
    with unguarded():
        AuditSeal.objects.filter(number=2).update(hashes=b"short")
    assert audit_verify().problems == ["Seal 2 was changed itself."]


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (lambda: AuditSeal.objects.filter(number=2).delete(), "Seal 2 is missing."),
        (lambda: AuditSeal.objects.filter(number__lt=3).delete(), "Seals 1 to 2 are missing."),
    ],
)
def test_a_removed_seal_is_missed(sealed: list[AuditEntry], cut: Callable[[], object], says: str) -> None:
    with unguarded():
        cut()
    problems = audit_verify().problems
    assert problems[0] == says
    assert problems[-1].endswith("names a seal that doesn't exist.")


def test_a_cut_off_end_shows_by_what_was_told_outside(sealed: list[AuditEntry]) -> None:
    outside = told()
    with unguarded():
        AuditSeal.objects.filter(number__gte=2).delete()
        assert "behind the last one" in audit_verify().problems[0]
        AuditEntry.objects.filter(seal_id__gte=2).delete()
    assert audit_verify().ok
    assert audit_verify(told=outside).problems == [
        "Seals 2 to 3 are missing: told outside, and not in the database. The end was cut off."
    ]
    write("later")
    assert entries_seal() is not None
    assert "Seal 2 isn't the one that was told outside." in audit_verify(told=outside).problems


def test_what_was_not_told_outside_is_said(sealed: list[AuditEntry]) -> None:
    found = audit_verify(told=[told()[1]])
    assert found.problems == ["Seal 1 is not among those that were told outside."]
    assert found.notes == ["Seal 3 is not told outside yet."]


def test_of_many_a_number_is_told() -> None:
    for number in range(NAMED + 5):
        write(str(number))
    entries_seal()
    with unguarded():
        AuditEntry.objects.all().delete()
    problems = audit_verify().problems
    assert len(problems) == NAMED + 1 and problems[-1] == "5 more: each is missing: seal 1 has it."


def verify(*arguments: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    try:
        call_command("audit_verify", *arguments, stdout=out, stderr=err)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_the_command_says_what_it_looked_at_and_what_waits(sealed: list[AuditEntry]) -> None:
    code, out, err = verify()
    assert (code, err) == (0, "")
    assert "The audit is as it was sealed: 3 seals over 6 entries." in out
    assert "Not sealed yet: 1 entry, since" in out
    assert "a cut-off end doesn't show" in out


def test_the_command_compares_with_the_file_and_ends_with_1_if_something_is_wrong(
    sealed: list[AuditEntry], tmp_path: Path, settings: Any
) -> None:
    path = tmp_path / "seals"
    lines = [seal_line(seal) for seal in AuditSeal.objects.order_by("number")]
    path.write_text(
        "\n".join(["a line of something else", lines[0], "INFO audit seal " + lines[1], lines[2]])
    )
    assert verify("--seals", str(path))[0] == 0
    settings.AMIWEB_AUDIT_SEALS = str(path)
    assert "cut-off" not in verify()[1]
    with unguarded():
        AuditEntry.objects.filter(seal_id=3).delete()
        AuditSeal.objects.filter(number=3).delete()
    code, _, err = verify()
    assert code == 1 and "Seal 3 is missing" in err and "NOT as it was sealed" in err
    with pytest.raises(CommandError, match="can't be read"):
        call_command("audit_verify", seals=tmp_path / "nowhere")


def test_nothing_at_all_is_intact() -> None:
    assert audit_verify(told=[]) == Verification()
