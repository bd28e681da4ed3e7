"""The bootstrap in a checkout of its own, with no requirements or tiny local ones: nothing is fetched."""

from __future__ import annotations

import hashlib
import os
import pty
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "amiweb").mkdir(parents=True)
    (folder / "requirements").mkdir()
    shutil.copy(ROOT / "amiweb" / "bootstrap.py", folder / "amiweb")
    for name in ("base", "dev"):
        (folder / "requirements" / f"{name}.txt").write_text(f"# nothing yet for {name}\n")
    return folder


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the bootstrap makes before it installs: to make it takes seconds, to copy it a part of one."""
    folder = tmp_path_factory.mktemp("environment") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def begun(checkout: Path, empty_environment: Path) -> Path:
    """A checkout that has its environment, with nothing installed."""
    shutil.copytree(empty_environment, checkout / ".venv", symlinks=True)
    return checkout


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AMIWEB_")}


def bootstrap(
    checkout: Path, *arguments: str, before: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the bootstrap; `before` is Python that changes `sys` first."""
    script = checkout / "amiweb" / "bootstrap.py"
    program = f"import runpy, sys\nsys.argv = {[str(script), *arguments]!r}\n{before}\n"
    program += f"runpy.run_path({str(script)!r}, run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_first_start_makes_the_environment_and_becomes_the_command(checkout: Path) -> None:
    done = bootstrap(checkout, "base", "-c", "import sys, os; print(sys.prefix, os.getcwd()); sys.exit(7)")
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines()[-1] == f"{checkout / '.venv'} {checkout}"


def test_second_start_installs_nothing_and_is_quick_until_the_requirements_change(begun: Path) -> None:
    bootstrap(begun, "base", "-V")
    log = begun / ".venv" / "install.log"
    log.unlink()
    began = time.monotonic()
    done = bootstrap(begun, "base", "-V")
    assert time.monotonic() - began < 3
    assert done.stdout.startswith("Python 3"), done.stdout
    assert not log.exists()
    (begun / "requirements" / "base.txt").write_text("# something new\n")
    assert "installing" in bootstrap(begun, "base", "-V").stdout
    assert log.exists()


def test_what_the_tests_installed_serves_the_trial_too(begun: Path) -> None:
    bootstrap(begun, "dev", "-V")
    assert "installing" not in bootstrap(begun, "base", "-V").stdout


def test_it_tells_how_far_the_installation_is(begun: Path, wheels: Callable[..., dict[str, str]]) -> None:
    environment = wheels("one", "two", "three")
    done = bootstrap(begun, "base", "-c", "import one, two, three; print('all', 'there')", **environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "amiweb: installing 3 packages; the first time this takes a minute or two" in lines
    assert lines[-2:] == ["  unpacking", "all there"]


def test_on_a_terminal_each_package_is_named_in_one_line(
    begun: Path, wheels: Callable[..., dict[str, str]]
) -> None:
    environment = wheels("one", "two", "three")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(begun / "amiweb" / "bootstrap.py"), "base", "-c", "print('done')"],
        env=clean_environment() | environment, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        pass  # how Linux says that nobody holds the other end any more
    os.close(ours)
    assert process.wait(120) == 0, shown
    steps = ["1 of 3: one", "2 of 3: two", "3 of 3: three", "unpacking", ""]
    line = "".join(f"\r\033[K  {step}" for step in steps[:-1]) + "\r\033[K"
    assert line.encode() in shown, shown


@pytest.fixture
def wheels(checkout: Path, tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """Puts packages that hold nothing into the requirements and on a server of their own."""
    folder = tmp_path / "wheels"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def make(*names: str) -> dict[str, str]:
        pins = [f"{name}==1 --hash=sha256:{make_wheel(folder, name)}\n" for name in names]
        (checkout / "requirements" / "base.txt").write_text("".join(pins))
        address = f"http://127.0.0.1:{server.server_port}/"
        return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": address, "PIP_CONFIG_FILE": os.devnull}

    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield make
    server.shutdown()
    thread.join()
    server.server_close()


def make_wheel(folder: Path, name: str) -> str:
    """A package with one empty module; gives its hash."""
    path = folder / f"{name}-1-py3-none-any.whl"
    files = {
        f"{name}.py": "",
        f"{name}-1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{name}-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)
        record = f"{name}-1.dist-info/RECORD"
        wheel.writestr(record, "".join(f"{file},,\n" for file in [*files, record]))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_failed_install_is_one_line_and_is_tried_again(begun: Path) -> None:
    requirements = begun / "requirements" / "base.txt"
    requirements.write_text("amiweb-nowhere==1 --hash=sha256:" + "0" * 64 + "\n")
    for _ in range(2):
        done = bootstrap(begun, "base", "-V", PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)
        assert done.returncode != 0
        (line,) = done.stderr.splitlines()
        assert line.startswith("amiweb: installing failed: ERROR:")
        assert "install.log" in line


def test_a_folder_that_cannot_be_written_is_one_clear_line(checkout: Path) -> None:
    (checkout / "a-file").write_text("")
    done = bootstrap(checkout, "base", "-V", AMIWEB_VENV=str(checkout / "a-file" / "venv"))
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"amiweb: can't write {checkout / 'a-file' / 'venv'}")
    assert "AMIWEB_VENV" in line


def test_a_python_that_is_too_old_is_one_clear_line(checkout: Path, tmp_path: Path) -> None:
    done = bootstrap(
        checkout, "base", "-V", before="sys.version_info = (3, 8, 1, 'final', 0)", PATH=str(tmp_path)
    )
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "needs Python 3.11 or newer" in line
    assert "is 3.8" in line


def test_an_old_python_gives_way_to_a_newer_one_on_path(checkout: Path, tmp_path: Path) -> None:
    newer = tmp_path / "bin" / "python3.11"
    newer.parent.mkdir()
    newer.symlink_to(sys.executable)
    done = bootstrap(
        checkout, "base", "-V",
        before="sys.version_info = (3, 8, 1, 'final', 0)", PATH=f"{newer.parent}:{os.environ['PATH']}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Python 3." in done.stdout


def test_a_python_without_venv_names_the_package_to_install(checkout: Path, tmp_path: Path) -> None:
    crippled = tmp_path / "python-without-venv"
    crippled.write_text("#!/bin/sh\nexit 1\n")
    crippled.chmod(0o755)
    done = bootstrap(checkout, "base", "-V", before=f"sys.executable = {str(crippled)!r}")
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "apt install python3-venv" in line
    assert not (checkout / ".venv").exists()


def test_two_commands_at_once_install_once(checkout: Path) -> None:
    script = str(checkout / "amiweb" / "bootstrap.py")
    both = [
        subprocess.Popen([sys.executable, script, "base", "-V"], stdout=subprocess.PIPE, text=True)
        for _ in "ab"
    ]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("installing" in text for text in printed) == 1
