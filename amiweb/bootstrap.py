"""Makes the virtual environment that everything else runs in, then becomes the command it was asked for.

    python3 amiweb/bootstrap.py base -m amiweb.trial
    python3 amiweb/bootstrap.py dev -m pytest

The first word names a file of requirements/, the rest goes to the environment's Python. Installing happens
when that file has changed since the last time (a stamp in the environment holds its hash); otherwise a start
costs a few hundredths of a second.

It runs on whatever `python3` the machine has, so: standard library only, and syntax that an old Python 3 can
read well enough to be told that it is too old.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("AMIWEB_VENV") or ROOT / ".venv").absolute()
STAMP = VENV / "amiweb-installed.json"
OLDEST = (3, 11)
NEWEST_KNOWN = 15  # where the search for another Python begins


class Problem(Exception):
    """What keeps us from starting, as one line for a person."""


def main() -> None:
    """Install what the first argument asks for, then run the rest."""
    if sys.version_info[:2] < OLDEST:
        try:
            newer = find_newer_python()
        except Problem as problem:
            sys.exit(f"amiweb: {problem}")
        os.execv(newer, [newer, *sys.argv])  # noqa: S606 - the same program, read by a newer Python
    which, command = sys.argv[1], sys.argv[2:]
    requirements = ROOT / "requirements" / (which + ".txt")
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    python = VENV / "bin" / "python"
    try:
        if not is_installed(which, digest, python):
            with Path(__file__).open() as lock:  # two commands at once: the second waits and finds all done
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not is_installed(which, digest, python):
                    install(which, digest, requirements, python)
    except Problem as problem:
        sys.exit(f"amiweb: {problem}")
    except KeyboardInterrupt:
        sys.exit("\namiweb: stopped while installing; the next start goes on")
    if command:
        os.chdir(str(ROOT))
        os.execv(str(python), [str(python)] + command)  # noqa: S606 - the point of this program


def is_installed(which: str, digest: str, python: Path) -> bool:
    """Whether the environment holds exactly these requirements."""
    return os.path.exists(str(python)) and read_stamp().get(which) == digest


def read_stamp() -> dict:
    """Hashes of what was installed, by name of the requirements; empty if nothing was, or not wholly."""
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def install(which: str, digest: str, requirements: Path, python: Path) -> None:
    """Make the environment if need be, and install the requirements into it.

    Raises:
        Problem: no Python, no venv module, a folder that can't be written, or pip failed.
    """
    try:
        if not works(python):
            make_environment(sys.executable)
        stamp = read_stamp()
        STAMP.unlink(missing_ok=True)
        pip_install(requirements, python)
        stamp[which] = digest
        if which == "dev":  # holds all of base at the same versions; tests/test_requirements.py sees to it
            base = ROOT / "requirements" / "base.txt"
            stamp["base"] = hashlib.sha256(base.read_bytes()).hexdigest()
        STAMP.write_text(json.dumps(stamp))
    except OSError as error:
        folder = error.filename or VENV
        raise Problem(
            f"can't write {folder} ({error.strerror}): give that folder to your user, "
            "or name another one with AMIWEB_VENV"
        ) from None


def works(python: Path) -> bool:
    """Whether this is a Python that is new enough and has pip."""
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    return os.path.exists(str(python)) and succeeds([str(python), "-c", check])


def succeeds(command: list) -> bool:
    """Whether a command can be run and says that all is well."""
    try:
        quiet = subprocess.DEVNULL
        return subprocess.run(command, stdout=quiet, stderr=quiet, check=False).returncode == 0
    except OSError:
        return False


def find_newer_python() -> str:
    """The path of a Python on PATH that is new enough.

    Raises:
        Problem: there is none.
    """
    for minor in range(NEWEST_KNOWN, OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and succeeds([found, "-c", "pass"]):
            return found
    raise Problem(
        f"needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and {sys.executable} is "
        f"{sys.version_info[0]}.{sys.version_info[1]}: install one, or name it: make run PYTHON=/its/path"
    )


def make_environment(python: str) -> None:
    """Make .venv with this Python.

    Raises:
        Problem: this Python lacks venv or ensurepip, which Debian puts into a package of its own.
    """
    if not succeeds([python, "-c", "import venv, ensurepip"]):
        raise Problem(
            f"{python} can't make a virtual environment: install its venv module "
            "(Debian and Ubuntu: apt install python3-venv)"
        )
    say(f"making the environment {VENV}")
    VENV.mkdir(parents=True, exist_ok=True)  # tells a folder that can't be written from other trouble
    made = subprocess.run(
        [python, "-m", "venv", "--clear", str(VENV)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if made.returncode:
        raise Problem(f"{python} -m venv failed: {last_line(made.stdout.decode('utf-8', 'replace'))}")


def pip_install(requirements: Path, python: Path) -> None:
    """Install every pinned package with its hash checked, and tell how far it is.

    Raises:
        Problem: pip failed; its whole output is in the environment's install.log.
    """
    total = len(re.findall(r"(?m)^[a-z0-9][^ ]*==", requirements.read_text()))
    say(f"installing {total} packages; the first time this takes a minute or two")
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--require-hashes", "--requirement", str(requirements)]
    log = VENV / "install.log"
    seen = 0
    shown = time.monotonic()
    terminal = sys.stdout.isatty()
    lines = []  # type: list[str]
    with log.open("w") as file:
        environment = dict(os.environ, PIP_USER="0", PIP_PROGRESS_BAR="off", PYTHONUNBUFFERED="1")
        pip = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            universal_newlines=True,
        )
        try:
            for line in pip.stdout or ():
                file.write(line)
                lines = [*lines[-20:], line]
                about = re.match(
                    r"(?:Collecting|Ignoring|Requirement already satisfied:) ([A-Za-z0-9._-]+)", line
                )
                if about:
                    seen += 1
                    progress = f"{min(seen, total)} of {total}: {about.group(1)}"
                elif line.startswith("Installing collected packages"):
                    progress, shown = "unpacking", 0
                else:
                    continue
                if terminal or time.monotonic() - shown > 5:
                    shown = time.monotonic()
                    before, after = ("\r\033[K", "") if terminal else ("", "\n")
                    print(before + "  " + progress, end=after, flush=True)
            status = pip.wait()
        finally:
            if pip.poll() is None:
                pip.terminate()
                pip.wait()
            if terminal:
                print("\r\033[K", end="", flush=True)
    if status:
        errors = [line for line in lines if line.startswith("ERROR:")]
        raise Problem(f"installing failed: {last_line(''.join(errors or lines))} (all of it: {log})")


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it did not say why"


def say(text: str) -> None:
    """Tell the person at the terminal what happens now."""
    print("amiweb: " + text, flush=True)


if __name__ == "__main__":
    main()
