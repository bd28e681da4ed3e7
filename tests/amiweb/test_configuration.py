"""What the environment may say: each rule as a function of a mapping."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from amiweb import configuration
from amiweb.configuration import Configuration, celery_url, load
from amiweb.variables import VARIABLES, documentation

ROOT = Path(__file__).resolve().parents[2]
KEY = "A" * 43 + "="  # fixed, since it becomes part of the names of tests


def trial(tmp_path: Path, **environ: str) -> Configuration:
    return load({"AMIWEB_VAR_DIR": str(tmp_path / "var"), **environ}, tmp_path)


def production(tmp_path: Path, **environ: str) -> Configuration:
    good = {
        "AMIWEB_ENV": "production",
        "AMIWEB_VAR_DIR": str(tmp_path / "var"),
        "AMIWEB_SECRET_KEY": "abcdefghij" * 6,
        "AMIWEB_ENCRYPTION_KEYS": f"k1:{KEY}",
        "AMIWEB_DATABASE_URL": "postgres://amiweb:word@db.example/amiweb",
        "AMIWEB_REDIS_URL": "redis://valkey.example:6379/2",
        "AMIWEB_ALLOWED_HOSTS": "pbx.example.com",
    }
    return load({name: value for name, value in (good | environ).items() if value}, tmp_path)


def refusal(tmp_path: Path, **environ: str) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        production(tmp_path, **environ)
    return str(caught.value)


def trial_refusal(tmp_path: Path, **environ: str) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        trial(tmp_path, **environ)
    return str(caught.value)


def test_without_configuration_it_is_the_trial(tmp_path: Path) -> None:
    config = load({}, tmp_path)
    assert not config.production
    assert not config.debug
    assert config.bind == "127.0.0.1"
    assert config.embedded_valkey
    assert config.valkey_socket == tmp_path / "var" / "valkey.sock"
    assert config.redis_url == f"unix://{tmp_path}/var/valkey.sock"
    assert config.celery_broker_url == f"redis+socket://{tmp_path}/var/valkey.sock?virtual_host=0"
    assert config.allowed_hosts == ["localhost", "127.0.0.1", "[::1]"]
    assert config.database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_the_keys_of_the_trial_are_generated_once_for_its_user_alone(tmp_path: Path) -> None:
    first, second = trial(tmp_path), trial(tmp_path)
    assert first.secret_key == second.secret_key and len(first.secret_key) >= 50
    assert first.encryption_keys == second.encryption_keys and list(first.encryption_keys) == ["trial"]
    for name in ("secret_key", "encryption_keys"):
        assert stat.S_IMODE((tmp_path / "var" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700
    assert sorted(path.name for path in (tmp_path / "var").iterdir()) == ["encryption_keys", "secret_key"]


def test_processes_that_start_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from amiweb.configuration import load;"
        "print('ready', flush=True); sys.stdin.readline();"
        f"c = load({{}}, Path({str(tmp_path)!r})); print(c.secret_key, *c.encryption_keys.values())"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdin=-1, stdout=-1, text=True)
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout and child.stdout.readline() == "ready\n"
    for child in children:  # all have imported everything: now they race
        assert child.stdin
        child.stdin.write("\n")
        child.stdin.flush()
    answers = {child.communicate(timeout=60)[0] for child in children}
    assert len(answers) == 1
    assert answers != {""}


def test_the_loser_of_the_race_takes_the_winners_key(tmp_path: Path) -> None:
    def make() -> str:
        (tmp_path / "key").write_text("the winner's\n")  # another process, while this one makes its own
        (tmp_path / "key").chmod(0o600)
        return "the loser's"

    reader = configuration._Reader({})
    assert configuration._generated(reader, "NAME", tmp_path / "key", make) == "the winner's"
    assert reader.problems == []
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    trial(tmp_path)
    (tmp_path / "var" / "secret_key").chmod(0o644)
    assert "chmod 600" in trial_refusal(tmp_path)


def test_a_var_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var").chmod(0o777)
    assert "chmod go-w" in trial_refusal(tmp_path)


def test_a_var_folder_that_can_not_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = trial_refusal(tmp_path, AMIWEB_VAR_DIR=str(tmp_path / "file" / "var"))
    assert f"can't create the folder {tmp_path}/file/var: Not a directory" in message


def test_a_path_too_long_for_a_socket_moves_it_to_a_private_folder(tmp_path: Path) -> None:
    var = tmp_path / ("long" * 30)
    config = trial(tmp_path, AMIWEB_VAR_DIR=str(var))
    assert config.valkey_socket is not None
    try:
        assert len(os.fsencode(config.valkey_socket)) <= 107
        assert stat.S_IMODE(config.valkey_socket.parent.stat().st_mode) == 0o700
        assert config.valkey_socket == trial(tmp_path, AMIWEB_VAR_DIR=str(var)).valkey_socket
        other = trial(tmp_path, AMIWEB_VAR_DIR=f"{var}2").valkey_socket
        assert other is not None and other != config.valkey_socket
        other.parent.rmdir()
    finally:
        config.valkey_socket.parent.rmdir()


def test_a_complete_production_is_accepted(tmp_path: Path) -> None:
    config = production(tmp_path, AMIWEB_TRUSTED_ORIGINS="https://pbx.example.com:8443")
    assert config.production
    assert not config.embedded_valkey and config.valkey_socket is None
    assert config.database["ENGINE"] == "django.db.backends.postgresql"
    assert config.celery_broker_url == "redis://valkey.example:6379/2"
    assert not (tmp_path / "var").exists()  # production generates nothing


def test_production_names_everything_that_is_missing_at_once(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        load({"AMIWEB_ENV": "production"}, tmp_path)
    for name in ("SECRET_KEY", "ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS"):
        assert f"AMIWEB_{name}: missing" in str(caught.value)


def test_production_names_everything_that_is_weak_at_once(tmp_path: Path) -> None:
    message = refusal(
        tmp_path,
        AMIWEB_SECRET_KEY="short",
        AMIWEB_ENCRYPTION_KEYS="k1:nokey",
        AMIWEB_DATABASE_URL="sqlite:////tmp/amiweb.sqlite3",
        AMIWEB_REDIS_URL="valkey.example",
        AMIWEB_ALLOWED_HOSTS="*",
        AMIWEB_TRUSTED_ORIGINS="http://pbx.example.com",
        AMIWEB_DEBUG="1",
        AMIWEB_PORT="http",
        AMIWEB_TIME_ZONE="Europe/Atlantis",
    )
    assert "9 settings need attention" in message
    assert message.count("\n  - AMIWEB_") == 9


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AMIWEB_SECRET_KEY", "x" * 60, "fewer than 5 different"),
        ("AMIWEB_SECRET_KEY", "django-insecure-" + "abcdefghij" * 6, "example key"),
        ("AMIWEB_ENCRYPTION_KEYS", KEY, "not of the form id:key"),
        ("AMIWEB_ENCRYPTION_KEYS", f"k1:{KEY},k1:{KEY}", "'k1' is there twice"),
        ("AMIWEB_ENCRYPTION_KEYS", f"k1:{KEY},:{KEY}", "entry 2 is not of the form"),
        ("AMIWEB_ENCRYPTION_KEYS", ",", "holds no key"),
        ("AMIWEB_ENCRYPTION_KEYS", " , \n,", "holds no key"),
        ("AMIWEB_DATABASE_URL", "postgres//db", "not a database URL"),
        ("AMIWEB_DATABASE_URL", "postgres://", "names no host and no database name"),
        ("AMIWEB_DATABASE_URL", "postgres://amiweb:word@db.example/", "names no database name"),
        ("AMIWEB_DATABASE_URL", "postgres:///amiweb", "names no host"),
        ("AMIWEB_DATABASE_URL", "mysql://root:word@db.example/amiweb", "only PostgreSQL"),
        ("AMIWEB_REDIS_URL", "http://valkey.example", "not of the form redis://"),
        ("AMIWEB_REDIS_URL", "redis://valkey.example:port", "not of the form redis://"),
        ("AMIWEB_ALLOWED_HOSTS", "https://pbx.example.com", "give the name alone"),
        ("AMIWEB_TRUSTED_ORIGINS", "https://*.example.com", "wildcard"),
        ("AMIWEB_TRUSTED_ORIGINS", "pbx.example.com", "no scheme"),
        ("AMIWEB_ENV", "prod", "'prod' is none of trial, production"),
        ("AMIWEB_HSTS_SECONDS", "0", "not a whole number from 1"),
        ("AMIWEB_SIMULATOR_PORTS", "5038", "real PBX"),
        ("AMIWEB_LOG_LEVEL", "loud", "none of DEBUG"),
        ("AMIWEB_IDLE_SESSIONS", "33", "not a whole number from 0 to 32"),
        ("AMIWEB_IDLE_SECONDS", "0", "not a whole number from 1 to 600"),
        ("AMIWEB_STREAM_KEEP_SECONDS", "59", "not a whole number from 60 to 86400"),
        ("AMIWEB_CONFIRM_SERVERS", "-1", "not a whole number from 0"),
    ],
)
def test_a_wrong_value_is_refused_with_a_reason(tmp_path: Path, name: str, value: str, said: str) -> None:
    message = refusal(tmp_path, **{name: value})
    assert name in message
    assert said in message


@pytest.mark.parametrize(
    "url", ["postgres://amiweb@%2Frun%2Fpostgresql/amiweb", "postgres:///amiweb?host=/run/postgresql"]
)
def test_a_database_may_be_reached_over_a_socket(tmp_path: Path, url: str) -> None:
    database = production(tmp_path, AMIWEB_DATABASE_URL=url).database
    assert (database["HOST"] or database["OPTIONS"]["host"]) == "/run/postgresql"


def test_a_refusal_quotes_no_secret(tmp_path: Path) -> None:
    message = refusal(
        tmp_path,
        AMIWEB_SECRET_KEY="s3cret-key",
        AMIWEB_ENCRYPTION_KEYS=f"{KEY},k2:s3cret-fernet",
        AMIWEB_DATABASE_URL="pg://amiweb:s3cret-word@db/amiweb",
        AMIWEB_REDIS_URL="http://:s3cret-word@valkey",
    )
    assert "s3cret" not in message
    assert KEY not in message


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"\nnew:{KEY}\nold:{Fernet.generate_key().decode()}\n")
    config = production(
        tmp_path, AMIWEB_ENCRYPTION_KEYS="", AMIWEB_ENCRYPTION_KEYS_FILE=str(tmp_path / "keys")
    )
    assert list(config.encryption_keys) == ["new", "old"]  # the first one encrypts


@pytest.mark.parametrize("name", [variable.name for variable in VARIABLES if variable.secret])
def test_every_secret_has_its_file_variant(tmp_path: Path, name: str) -> None:
    missing = tmp_path / "missing"
    message = trial_refusal(tmp_path, **{f"{name}_FILE": str(missing)})
    assert f"{name}_FILE: can't read {missing}: No such file or directory" in message


def test_a_secret_given_twice_or_as_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    message = trial_refusal(
        tmp_path,
        AMIWEB_SECRET_KEY="one",
        AMIWEB_SECRET_KEY_FILE=str(tmp_path / "empty"),
        AMIWEB_REDIS_URL_FILE=str(tmp_path / "empty"),
    )
    assert "AMIWEB_SECRET_KEY: set it or AMIWEB_SECRET_KEY_FILE, not both" in message
    assert f"AMIWEB_REDIS_URL_FILE: {tmp_path}/empty is empty" in message


def test_the_trial_listens_on_loopback_only(tmp_path: Path) -> None:
    assert "loopback only, not on 0.0.0.0" in trial_refusal(tmp_path, AMIWEB_BIND="0.0.0.0")
    assert production(tmp_path, AMIWEB_BIND="0.0.0.0").bind == "0.0.0.0"


def test_the_trial_may_use_a_postgresql_and_a_valkey_of_its_own(tmp_path: Path) -> None:
    config = trial(
        tmp_path,
        AMIWEB_DATABASE_URL="postgres://me@db.example/amiweb",
        AMIWEB_REDIS_URL="unix:///run/valkey/valkey.sock?db=3",
    )
    assert config.database["HOST"] == "db.example"
    assert not config.embedded_valkey
    assert config.celery_broker_url == "redis+socket:///run/valkey/valkey.sock?virtual_host=3"


def test_kept_sessions_and_confirmations_may_be_set(tmp_path: Path) -> None:
    config = trial(tmp_path)
    assert (config.idle_sessions, config.idle_seconds, config.confirm_servers) == (4, 60, 5)
    config = production(
        tmp_path, AMIWEB_IDLE_SESSIONS="0", AMIWEB_IDLE_SECONDS="600", AMIWEB_CONFIRM_SERVERS="0"
    )
    assert (config.idle_sessions, config.idle_seconds, config.confirm_servers) == (0, 600, 0)


def test_retention_is_a_number_of_days_with_exceptions_by_status(tmp_path: Path) -> None:
    config = trial(tmp_path)
    assert (config.run_retention_days, config.result_retention_days) == ({"": 90}, {"": 30})
    config = trial(
        tmp_path,
        AMIWEB_RUN_RETENTION_DAYS="60, unknown = 365,succeeded=7",
        AMIWEB_RESULT_RETENTION_DAYS="failed=90",
        AMIWEB_RESULT_LIMIT_MIB="64",
    )
    assert config.run_retention_days == {"": 60, "unknown": 365, "succeeded": 7}
    assert config.result_retention_days == {"": 30, "failed": 90}
    assert config.result_limit_mib == 64


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("running=3", "'running' is none of succeeded, failed,"),
        ("for ever", "'for ever' is not a whole number from 1"),
        ("90,failed=0", "'0' is not a whole number from 1"),
        ("=5", "'' is none of succeeded"),
    ],
)
def test_a_retention_that_makes_no_sense_is_refused(tmp_path: Path, value: str, words: str) -> None:
    assert words in trial_refusal(tmp_path, AMIWEB_RUN_RETENTION_DAYS=value)


def test_mails_leave_encrypted_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    assert trial(tmp_path).mail.host == ""
    config = production(
        tmp_path,
        AMIWEB_SMTP_HOST="mail.example.com",
        AMIWEB_SMTP_USERNAME="amiweb",
        AMIWEB_SMTP_PASSWORD="word of the mail server",
        AMIWEB_MAIL_FROM="amiweb <amiweb@example.com>",
    )
    assert (config.mail.port, config.mail.security) == (587, "starttls")
    assert "word of the mail server" not in repr(config)
    for security, port in (("tls", 465), ("none", 25)):
        assert trial(tmp_path, AMIWEB_SMTP_SECURITY=security).mail.port == port
    assert trial(tmp_path, AMIWEB_SMTP_PORT="2525").mail.port == 2525


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"AMIWEB_SMTP_HOST": "mail.example.com"}, "AMIWEB_MAIL_FROM: missing"),
        ({"AMIWEB_SMTP_HOST": "smtp://mail.example.com"}, "no name of a mail server"),
        ({"AMIWEB_MAIL_FROM": "amiweb"}, "'amiweb' is not a mail address"),
        ({"AMIWEB_SMTP_SECURITY": "ssl"}, "'ssl' is none of starttls, tls, none"),
        ({"AMIWEB_SMTP_USERNAME": "amiweb"}, "AMIWEB_SMTP_PASSWORD: missing"),
        ({"AMIWEB_SMTP_PASSWORD": "word"}, "AMIWEB_SMTP_USERNAME: missing"),
        (
            {
                "AMIWEB_SMTP_HOST": "mail.example.com",
                "AMIWEB_SMTP_USERNAME": "amiweb",
                "AMIWEB_SMTP_PASSWORD": "word",
                "AMIWEB_SMTP_SECURITY": "none",
            },
            "weak: 'none' would send the password in clear",
        ),
        ({"AMIWEB_PUBLIC_URL": "amiweb.example.com"}, "is not an address, such as https://"),
        ({"AMIWEB_PUBLIC_URL": "https://amiweb.example.com/pbx"}, "give scheme, name and port alone"),
    ],
)
def test_mail_settings_that_can_not_work_are_named(
    tmp_path: Path, environ: dict[str, str], words: str
) -> None:
    assert words in trial_refusal(tmp_path, **environ)


def test_links_in_messages_lead_to_the_trial_itself_and_in_production_to_where_somebody_said(
    tmp_path: Path,
) -> None:
    assert trial(tmp_path, AMIWEB_PORT="9000").public_url == "http://127.0.0.1:9000"
    assert production(tmp_path).public_url == ""
    config = production(tmp_path, AMIWEB_PUBLIC_URL="https://amiweb.example.com/")
    assert config.public_url == "https://amiweb.example.com"
    assert "weak: 'http://amiweb.example.com' is not https" in refusal(
        tmp_path, AMIWEB_PUBLIC_URL="http://amiweb.example.com"
    )


@pytest.mark.parametrize(
    ("redis", "celery"),
    [
        ("redis://:word@valkey:6379/1", "redis://:word@valkey:6379/1"),
        ("unix:///run/v.sock", "redis+socket:///run/v.sock?virtual_host=0"),
        ("unix:///a%20b/v.sock?db=1", "redis+socket:///a%20b/v.sock?virtual_host=1"),
        ("unix://:word@/run/v.sock", "redis+socket://:word@/run/v.sock?virtual_host=0"),
    ],
)
def test_celery_gets_the_same_place_in_its_own_words(redis: str, celery: str) -> None:
    assert celery_url(redis) == celery


def test_the_table_in_the_docs_is_the_one_in_the_code() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert documentation() in page, "write amiweb.variables.documentation() into docs/settings.md"


def test_every_variable_that_is_read_is_documented(tmp_path: Path) -> None:
    read: set[str] = set()

    class Spy(dict[str, str]):
        def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
            read.add(name)
            return super().get(name, default)

    load(Spy(AMIWEB_VAR_DIR=str(tmp_path / "var")), tmp_path)
    documented = {variable.name for variable in VARIABLES}
    documented |= {f"{variable.name}_FILE" for variable in VARIABLES if variable.secret}
    assert read == documented


def test_seals_of_the_audit_go_into_a_file_that_can_be_made_or_into_the_log(tmp_path: Path) -> None:
    path = str(tmp_path / "seals")
    for value in ("", "log", path):
        assert trial(tmp_path, AMIWEB_AUDIT_SEALS=value).audit_seals == value
    assert "neither log nor the whole path" in trial_refusal(tmp_path, AMIWEB_AUDIT_SEALS="seals")
    nowhere = str(tmp_path / "nowhere" / "seals")
    assert "there is no folder" in trial_refusal(tmp_path, AMIWEB_AUDIT_SEALS=nowhere)
