"""What `make lint` runs: every check that needs no running process, all of them, even after one failed.

Django's own checks run on production settings, because a mistake there shows nowhere else; nothing that these
settings name has to exist for it.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def production() -> dict[str, str]:
    """An environment that production settings accept."""
    from cryptography.fernet import Fernet

    return {
        "AMIWEB_ENV": "production",
        "AMIWEB_SECRET_KEY": secrets.token_urlsafe(64),
        "AMIWEB_ENCRYPTION_KEYS": f"check:{Fernet.generate_key().decode()}",
        "AMIWEB_DATABASE_URL": "postgres://amiweb:not-connected-to@127.0.0.1/amiweb",
        "AMIWEB_REDIS_URL": "redis://127.0.0.1:6379/0",
        "AMIWEB_ALLOWED_HOSTS": "amiweb.example.com",
    }


def checks(var: Path) -> list[tuple[str, list[str], dict[str, str]]]:
    """Name, command and environment of each check."""
    manage = [sys.executable, "manage.py"]
    trial = {"AMIWEB_VAR_DIR": str(var)}
    return [
        ("format", [str(BIN / "ruff"), "format", "--check", "."], {}),
        ("rules", [str(BIN / "ruff"), "check", "."], {}),
        (
            "security",
            [str(BIN / "bandit"), "-q", "-c", "pyproject.toml", "-r", "amiweb", "ami_integration", "tests"],
            {},
        ),
        ("types", [str(BIN / "mypy")], trial),
        ("import directions", [str(BIN / "lint-imports")], trial),
        (
            "Django, in production",
            [*manage, "check", "--deploy", "--fail-level", "WARNING"],
            production() | trial,
        ),
        ("migrations", [*manage, "makemigrations", "--check", "--dry-run"], trial),
    ]


def main() -> int:
    """Run the checks; the exit code is the number of those that failed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AMIWEB_")}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="amiweb-lint-") as var:
        for name, command, environment in checks(Path(var)):
            began = time.monotonic()
            done = subprocess.run(
                command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=False
            )
            failed += done.returncode != 0
            print(
                f"{'FAILED' if done.returncode else 'ok':6} {name} ({time.monotonic() - began:.1f} s)",
                flush=True,
            )
            if done.returncode:
                print(done.stdout + done.stderr, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
