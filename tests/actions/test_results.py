"""What is kept of an answer: masked, compressed, whole or with a note, and in clear for few."""

from __future__ import annotations

import json

import pytest

from ami_integration.access.masking import MASK
from ami_integration.actions.models import ActionRun, RunResult
from ami_integration.actions.results import Result, result_pack, result_unpack
from ami_integration.secrets.encryption import SecretUnreadable
from tests.actions.factories import make_run

MIB = 1024 * 1024
SECRETS = Result(
    response=[("Response", "Success"), ("Secret", "hunter2"), ("Line-000000-000001", "password=swordfish")],
    items=[
        [("Event", "AuthDetail"), ("Username", "bob")],
        [("Event", "AuthDetail"), ("Password", "tr0ub4dor")],
    ],
    output="100 entries\n password : opensesame\nthe end",
)
WORDS = ("hunter2", "swordfish", "tr0ub4dor", "opensesame")


def channels(number: int) -> list[list[tuple[str, str]]]:
    return [
        [("Event", "CoreShowChannel"), ("Channel", f"PJSIP/{one:05}-0000001"), ("Context", "office")]
        for one in range(number)
    ]


def test_what_is_packed_comes_back() -> None:
    result = Result([("Response", "Success")], channels(3), "one\n\nthree ✓")
    packed = result_pack(result, limit=MIB)
    assert result_unpack(packed.data) == result
    assert (packed.hidden, packed.item_count, packed.note) == (None, 3, "")


def test_no_secret_is_in_what_everybody_is_shown() -> None:
    packed = result_pack(SECRETS, limit=MIB)
    shown = json.dumps(result_unpack(packed.data).data())
    assert not [word for word in WORDS if word in shown]
    assert shown.count(MASK) == 4


def test_what_masking_hid_comes_back_for_those_who_may() -> None:
    packed = result_pack(SECRETS, limit=MIB)
    assert result_unpack(packed.data, packed.hidden) == SECRETS
    assert packed.hidden is not None
    assert "bob" not in packed.hidden, "only what was hidden is kept twice"


def test_a_large_result_is_stored_small() -> None:
    packed = result_pack(Result(items=channels(10_000)), limit=16 * MIB)
    assert packed.size > 800_000
    assert len(packed.data) < packed.size / 10


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (Result(items=channels(20_000)), "of 20,000 items of the list are kept"),
        (Result(output="a line of some length\n" * 90_000), "of 90,001 lines of output are kept"),
        (Result([("Line", "x" * 90)] * 20_000), "of 20,000 headers of the response are kept"),
    ],
    ids=["items", "output", "response"],
)
def test_what_is_too_large_keeps_its_beginning_and_says_so(result: Result, words: str) -> None:
    packed = result_pack(result, limit=MIB)
    kept = result_unpack(packed.data)
    assert words in kept.note
    assert "AMIWEB_RESULT_LIMIT_MIB" in kept.note
    assert "1 MiB" in kept.note
    assert packed.note == kept.note
    assert 0.7 * MIB < packed.size < 1.2 * MIB
    if kept.items:
        assert kept.items == result.items[: len(kept.items)]


def test_a_cut_result_keeps_its_secrets_where_they_belong() -> None:
    result = Result(items=[[("Password", f"word{one}")] for one in range(1000)])
    packed = result_pack(result, limit=2_000)
    clear = result_unpack(packed.data, packed.hidden)
    assert 1 < len(clear.items) < 1000
    assert clear.items == result.items[: len(clear.items)]


# -- in the database


@pytest.mark.django_db
def test_a_run_ends_together_with_its_result() -> None:
    run = make_run()
    ActionRun.objects.claim(run.pk, "box:1")
    run.refresh_from_db()
    assert run.finish(ActionRun.Status.SUCCEEDED, "done", result=SECRETS)
    run.refresh_from_db()
    assert ["Secret", MASK] in run.response
    row = RunResult.objects.get()
    assert row.in_clear() == SECRETS
    assert row.size > 0
    assert row.stored_size > len(row.data)
    stored = bytes(row.data) + row.hidden.token.encode()
    assert not [word for word in WORDS if word.encode() in stored]


@pytest.mark.django_db
def test_a_worker_that_comes_too_late_leaves_no_result() -> None:
    run = make_run(status="unknown", worker="box:1")
    assert not run.finish(ActionRun.Status.SUCCEEDED, "done", result=SECRETS)
    assert not RunResult.objects.exists()


@pytest.mark.django_db
def test_a_run_without_a_result_shows_none() -> None:
    run = make_run()
    assert (run.response, run.items, run.output) == ([], [], "")


@pytest.mark.django_db
def test_with_its_key_gone_the_masked_copy_is_still_there(settings: pytest.MonkeyPatch) -> None:
    run = make_run(response=[("Secret", "hunter2")])
    row = RunResult.objects.get()
    settings.AMIWEB_ENCRYPTION_KEYS = {"other": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="}  # type: ignore[attr-defined]
    assert run.response == [["Secret", MASK]]
    with pytest.raises(SecretUnreadable, match="AMIWEB_ENCRYPTION_KEYS"):
        row.in_clear()
