"""The settings as Django's processes see them."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.test import Client

from amiweb.logs import LineFormatter, TickFilter

ROOT = Path(__file__).resolve().parents[2]


def manage(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AMIWEB_", "DJANGO_"))}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=clean | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def production_environment(tmp_path: Path) -> dict[str, str]:
    return {
        "AMIWEB_ENV": "production",
        "AMIWEB_VAR_DIR": str(tmp_path / "var"),
        "AMIWEB_SECRET_KEY": "abcdefghij" * 6,
        "AMIWEB_ENCRYPTION_KEYS": f"k1:{Fernet.generate_key().decode()}",
        "AMIWEB_DATABASE_URL": "postgres://amiweb:word@127.0.0.1:1/amiweb",
        "AMIWEB_REDIS_URL": "redis://127.0.0.1:1/0",
        "AMIWEB_ALLOWED_HOSTS": "pbx.example.com",
    }


def test_the_deployment_check_finds_nothing_in_production(tmp_path: Path) -> None:
    result = manage("check", "--deploy", "--fail-level", "INFO", **production_environment(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "System check identified no issues" in result.stdout


def test_manage_py_lists_wrong_settings_without_a_traceback(tmp_path: Path) -> None:
    result = manage("check", AMIWEB_ENV="production", AMIWEB_VAR_DIR=str(tmp_path))
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("amiweb does not start: 5 settings need attention")


def test_the_web_process_does_not_start_without_collected_files(tmp_path: Path) -> None:
    script = "import amiweb.asgi"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AMIWEB_", "DJANGO_"))}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=clean | production_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 1
    assert "manage.py collectstatic" in run.stderr


def test_collected_files_carry_hashes_in_the_imports_between_modules_too(tmp_path: Path) -> None:
    environment = production_environment(tmp_path) | {"AMIWEB_STATIC_ROOT": str(tmp_path / "static")}
    result = manage("collectstatic", "--noinput", **environment)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "static" / "ami_integration"
    assert list(folder.glob("amiweb.*.css"))
    for module in folder.glob("*.????????????.js"):
        for imported in re.findall(r"""from\s+["'](\./[^"']+)["']""", module.read_text(encoding="utf-8")):
            assert re.search(r"\.[0-9a-f]{12}\.js$", imported), f"{module.name} imports {imported}"


def test_only_the_settings_read_the_environment() -> None:
    found = set()
    for path in [
        ROOT / "manage.py",
        *(ROOT / "amiweb").rglob("*.py"),
        *(ROOT / "ami_integration").rglob("*.py"),
    ]:
        # manage.py, asgi.py and celery.py only name the settings module.
        text = path.read_text(encoding="utf-8").replace('os.environ.setdefault("DJANGO_SETTINGS_MODULE"', "")
        if re.search(r"os\.environ\b|os\.getenv\b|from os import.*\b(environ|getenv)\b", text):
            found.add(str(path.relative_to(ROOT)))
    # Two stand before Django: one makes the virtual environment, one prepares what settings.py reads. And the
    # AMI client's own commands, which know no Django, take their secret from AMI_SECRET.
    outside = {"amiweb/bootstrap.py", "amiweb/trial.py", "ami_integration/ami/arguments.py"}
    assert found - outside == {"amiweb/settings.py"}


@pytest.mark.django_db
def test_every_page_carries_a_strict_content_security_policy(admin_client: Client) -> None:
    for page in ("/admin/login/", "/admin/", "/admin/ami_integration/server/", "/admin/nothing-here/"):
        policy = admin_client.get(page)["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


@pytest.mark.django_db
def test_the_front_door_leads_to_the_admin(client: Client) -> None:
    assert client.get("/").headers["Location"] == "/admin/"


def test_static_files_come_without_being_collected_in_the_trial(client: Client) -> None:
    response = client.get("/static/ami_integration/amiweb.css")
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/css")
    assert b".aw-state" in response.content
    again = client.get(
        "/static/ami_integration/amiweb.css", headers={"If-Modified-Since": response["Last-Modified"]}
    )
    assert again.status_code == 304
    assert again.content == b""


@pytest.mark.django_db
def test_a_foreign_host_name_is_refused(client: Client) -> None:
    assert client.get("/admin/login/", headers={"Host": "evil.example"}).status_code == 400


def test_an_sqlite_database_is_in_wal_mode_after_migrate(tmp_path: Path) -> None:
    assert manage("migrate", "-v0", AMIWEB_VAR_DIR=str(tmp_path / "var")).returncode == 0
    with sqlite3.connect(tmp_path / "var" / "amiweb.sqlite3") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.django_db
def test_nobody_sees_the_admin_without_a_login(client: Client) -> None:
    stranger = User.objects.create_user("stranger")
    assert client.get("/admin/ami_integration/server/").status_code == 302
    client.force_login(stranger)
    assert client.get("/admin/ami_integration/server/").status_code == 302


def test_a_log_record_is_one_line_whatever_a_caller_is_called() -> None:
    record = logging.LogRecord(
        "ami", logging.WARNING, "f", 1, "call from %s", ("\x1b[31mEve\r\nroot\u202e\u2028: ok é",), None
    )
    line = LineFormatter().format(record)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING \d+ ami: call from .*", line)
    assert line.endswith(r"\x1b[31mEve\r\nroot\u202e\u2028: ok é")


def test_the_words_of_an_error_forge_no_record_behind_its_traceback() -> None:
    try:
        raise ValueError("\x1b[31m\n2026-01-31T12:00:00.123Z ERROR 1 ami: forged\u2028")
    except ValueError:
        record = logging.LogRecord("ami", logging.ERROR, "f", 1, "it failed", (), sys.exc_info())
    first, *others = LineFormatter().format(record).split("\n")
    assert first.endswith("ERROR " + f"{record.process} ami: it failed")
    assert len(others) > 3 and all(line.startswith("| ") and line.isprintable() for line in others)


@pytest.mark.parametrize(
    ("logger", "level", "message", "kept"),
    [
        ("celery.app.trace", logging.INFO, "Task schedules.tick[1] succeeded in 0.01s", False),
        ("celery.beat", logging.INFO, "Scheduler: Sending due task schedules.tick (schedules.tick)", False),
        ("celery.app.trace", logging.ERROR, "Task schedules.tick[1] raised unexpected", True),
        ("celery.app.trace", logging.INFO, "Task actions.execute[1] succeeded in 0.01s", True),
        ("ami_integration.schedules", logging.INFO, "about schedules.tick", True),
    ],
)
def test_what_celery_says_of_each_tick_is_dropped_and_nothing_else(
    logger: str, level: int, message: str, kept: bool
) -> None:
    record = logging.LogRecord(logger, level, "f", 1, "%s", (message,), None)
    assert TickFilter().filter(record) is kept


def test_the_limits_of_the_environment_become_settings(tmp_path: Path) -> None:
    names = ("AMIWEB_IDLE_SESSIONS", "AMIWEB_IDLE_SECONDS", "AMIWEB_CONFIRM_SERVERS")
    shown = "from django.conf import settings as s; print(" + ", ".join(f"s.{name}" for name in names) + ")"
    given = dict(zip(names, ("7", "8", "9"), strict=True))
    result = manage("shell", "--command", shown, AMIWEB_VAR_DIR=str(tmp_path / "var"), **given)
    assert result.stdout.split()[-3:] == ["7", "8", "9"], result.stderr


@pytest.mark.parametrize("wanted", [True, False])
def test_requests_are_logged_only_if_uvicorn_was_told_so(tmp_path: Path, wanted: bool) -> None:
    script = (
        f"import logging, django, uvicorn; uvicorn.Config('x', access_log={wanted}); django.setup(); "
        "logging.getLogger('uvicorn.access').info('GET /'); logging.getLogger('uvicorn.error').info('Up')"
    )
    environ = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "amiweb.settings"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environ | {"AMIWEB_VAR_DIR": str(tmp_path / "var")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "INFO" in result.stderr and "uvicorn.error: Up" in result.stderr
    assert ("uvicorn.access: GET /" in result.stderr) is wanted
