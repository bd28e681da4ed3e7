"""What `pip install .` brings: the AMI client alone, dependent on nothing; with [web] all the rest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.simulator.fixtures import Simulator

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "list_commands.py"


def run(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """amiweb's wheel, built from a copy: a build leaves its traces beside the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("amiweb", "ami_integration", "templates", "requirements"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def lone_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has amiweb's wheel without extras and nothing else, installed without any index."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    site_packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--target", site_packages, wheel)
    return python


def test_installed_without_extras_the_first_example_lists_a_pbxs_actions_and_imports_no_django(
    lone_python: Path, simulator: Simulator
) -> None:
    script = f"""
import runpy, sys
sys.argv[1:] = {["--host", simulator.host, "--port", str(simulator.port), "--username", simulator.username]!r}
try:
    runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
import ami_integration
assert {str(ROOT)!r} + "/ami_integration" not in ami_integration.__file__, ami_integration.__file__
foreign = {{name.partition(".")[0] for name in sys.modules}} & {{"django", "channels", "celery", "amiweb"}}
assert not foreign, foreign
"""
    printed = run(lone_python, "-I", "-c", script, AMI_SECRET=simulator.secret)
    assert re.search(r"(?m)^Ping\s+\w", printed), printed


def test_installed_without_extras_both_command_lines_work_and_a_tunnel_says_what_is_missing(
    lone_python: Path, simulator: Simulator, tmp_path: Path
) -> None:
    where = [simulator.host, "--port", simulator.port, "--username", simulator.username]
    ami = (lone_python, "-I", "-m", "ami_integration.ami")
    assert "Pong" in run(*ami, where[0], "Ping", *where[1:], AMI_SECRET=simulator.secret)
    recording = tmp_path / "recording"
    record = (lone_python, "-I", "-m", "ami_integration.ami.record", where[0], recording)
    run(*record, *where[1:], "--seconds", "0.5", AMI_SECRET=simulator.secret)
    assert recording.exists()
    tunnel = ["--ssh", f"ada@{simulator.host}:{simulator.port}", "--ssh-host-key", "SHA256:" + "A" * 43]
    secrets = {"AMI_SECRET": simulator.secret, "AMI_SSH_PASSWORD": "something"}
    with pytest.raises(AssertionError, match=r"needs the package asyncssh: pip install 'amiweb\[ssh\]'"):
        run(*ami, where[0], "Ping", *where[1:], *tunnel, **secrets)


def test_installed_without_extras_it_brings_no_other_package(lone_python: Path) -> None:
    listing = "import importlib.metadata as m; print(*sorted(d.metadata['Name'] for d in m.distributions()))"
    assert run(lone_python, "-I", "-c", listing).split() == ["amiweb"]


def test_wheel_holds_every_module_template_and_static_file(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = set()
    for folder in ("amiweb", "ami_integration", "templates"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                wanted.add(str(path.relative_to(ROOT)))
    wanted = {re.sub(r"^templates/", "ami_integration/templates/", name) for name in wanted}
    assert wanted - held == set()
    assert {name.split("/")[0] for name in held if ".dist-info/" not in name} == {"amiweb", "ami_integration"}


def test_wheel_names_its_extras_and_requires_nothing_without_them(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert set(metadata.get_all("Provides-Extra", [])) == {"ssh", "web"}
    requirements = metadata.get_all("Requires-Dist", [])
    assert any(line.startswith("Django") for line in requirements)
    assert all("extra ==" in line for line in requirements)
    assert metadata["License-Expression"] == "Apache-2.0"


def test_pages_of_an_installed_wheel_find_their_templates_and_static_files(
    wheel: Path, tmp_path: Path
) -> None:
    site_packages = tmp_path / "site"
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--target",
        site_packages,
        wheel,
    )
    script = f"""
import sys
sys.path = [path for path in sys.path if path not in ("", {str(ROOT)!r})]
sys.path.insert(0, {str(site_packages)!r})
import django
django.setup()
from django.contrib.staticfiles import finders
from django.template.loader import get_template
print(get_template("admin/base_site.html").origin.name)
print(finders.find("ami_integration/amiweb.css"))
"""
    settings = {"AMIWEB_VAR_DIR": str(tmp_path / "var"), "DJANGO_SETTINGS_MODULE": "amiweb.settings"}
    printed = run(sys.executable, "-c", script, cwd=tmp_path, **settings)  # Celery imports from where it is
    for line in printed.splitlines():
        assert line.startswith(str(site_packages)), line
