"""Rules of the house that no tool checks: what the client imports, and who reads the environment.

Import directions are import-linter's (pyproject.toml, `make lint`).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from amiweb.processes import commands

ROOT = Path(__file__).resolve().parent.parent
AMI = ROOT / "ami_integration" / "ami"
OPTIONAL = {"asyncssh"}  # the SSH transport's, imported inside it


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_ami_client_imports_the_standard_library_and_itself_only() -> None:
    for path in AMI.rglob("*.py"):
        for name in imports(path):
            if name.startswith("ami_integration.ami"):
                continue
            assert name.partition(".")[0] in sys.stdlib_module_names | OPTIONAL, f"{path.name} imports {name}"


def test_keeper_and_bootstrap_import_the_standard_library_only() -> None:
    for name in ("keeper.py", "bootstrap.py"):
        for module in imports(ROOT / "amiweb" / name):
            assert module.partition(".")[0] in sys.stdlib_module_names, f"{name} imports {module}"


def test_app_reads_no_environment_variable_but_the_clients_commands_the_secret() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "ami_integration").rglob("*.py")
        if re.search(r"\benviron\b|getenv", path.read_text())
    ]
    # A secret on the command line would be seen by everybody on the machine.
    assert readers == ["ami_integration/ami/arguments.py"]


def test_no_module_is_named_utils() -> None:
    assert list(ROOT.glob("a*/**/utils.py")) == []


def test_every_management_command_has_a_test() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    process_of = {line[2]: name for name, line in commands(port=1, simulator_ports=[2]).items()}
    for path in (ROOT / "ami_integration" / "management" / "commands").glob("[a-z]*.py"):
        quoted = [f'"{path.stem}"', f"commands.{path.stem}", f'start("{process_of.get(path.stem)}"']
        assert any(words in tests for words in quoted), f"no test runs the command {path.stem}"


def test_every_package_has_an_init_file_or_the_wheel_would_lack_it() -> None:
    for top in ("amiweb", "ami_integration"):
        for path in (ROOT / top).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path.parent
