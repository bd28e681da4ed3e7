"""Put real Asterisks where the tests can start them: one chroot per Debian suite, shared by all clones.

``python -m tests.pbx.provision [suite ...]`` (``make pbx``), as root on Debian or a relative. ``sid``
brings the newest Asterisk (22.x), ``bullseye`` an old one (16.28) that is still in the field.

Why a chroot and not a container: it needs nothing but debootstrap, works inside containers and CI machines
where no container runtime does, and is as quick as the packages unpack. Nothing is ever mounted into it, so
removing it is a plain removal. Configuration and run folders are not its business: each test run brings its
own (tests/pbx/asterisk.py).

The mirror is the one that this machine's own apt uses; ``AMIWEB_PBX_MIRROR`` names another (an archive, say).
A finished chroot carries a marker, written last; without it, or when its Asterisk doesn't run any more, it is
rebuilt. Standard library only, because it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

MARKER = "amiweb-finished.json"
# Raise it when a finished chroot of the recipe before must not be used any more.
RECIPE = 1
PACKAGES = ("asterisk",)
# Dependencies that debootstrap's own minimal system lacks come with apt; what is only recommended doesn't
# (a mail server, hold music, hardware drivers): 0.3 GB less.
APT_INSTALL = ("apt-get", "-o", "Acquire::Retries=3", "install", "-y", "--no-install-recommends", *PACKAGES)
# What apt says when it is the suite that hasn't got the packages, and not the network that failed.
NOT_IN_SUITE = re.compile(
    r"Unable to locate package|no installation candidate|unmet dependencies|held broken packages"
)
REQUIRED_PROGRAMS = ("debootstrap", "chroot", "apt-get", "apt-config")
APT_HELPER = "/usr/lib/apt/apt-helper"


class ProvisionError(Exception):
    """Provisioning failed; the text is the one line that tells the reader what is wrong and what to do."""


class NotInstallable(ProvisionError):
    """The mirror answered, and it doesn't have this suite or its Asterisk (any more)."""


@dataclasses.dataclass(frozen=True)
class Suite:
    """A Debian suite and the Asterisk that is expected of it (`asterisk` is the test id: "22", "16")."""

    name: str
    asterisk: str
    required: bool


SUITES = {
    "sid": Suite("sid", "22", required=True),
    # Old enough to leave the mirrors one day: then the tests go on without it, and say so.
    "bullseye": Suite("bullseye", "16", required=False),
}


@dataclasses.dataclass(frozen=True)
class Finished:
    """What the marker of a finished chroot says."""

    suite: str
    version: str  # "22.10.1"
    package: str  # the Debian package's version
    chroot: Path


def pbx_folder() -> Path:
    """Where the chroots live: shared by all clones of one user."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "amiweb" / "pbx"


def chroot_of(suite: str) -> Path:
    return pbx_folder() / suite


def read_finished(suite: str) -> Finished | None:
    """The finished chroot of a suite, or None; reads one small file."""
    chroot = chroot_of(suite)
    try:
        data = json.loads((chroot / MARKER).read_text())
        if data["recipe"] != RECIPE:
            return None
        return Finished(suite, data["version"], data["package"], chroot)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def unavailable_marker(suite: str) -> Path:
    return pbx_folder() / f"{suite}.unavailable"


def unavailable_reason(suite: str) -> str | None:
    """Why provisioning couldn't install this suite, if it recorded that the mirrors don't have it."""
    try:
        return unavailable_marker(suite).read_text().strip() or None
    except OSError:
        return None


@contextmanager
def suite_lock(suite: str, *, shared: bool, waiting: str | None = None) -> Iterator[int]:
    """Hold a suite's lock: shared while an Asterisk runs in the chroot, exclusive while it is (re)built.

    `waiting` is printed when somebody else holds it. Yields the lock's file descriptor.
    """
    pbx_folder().mkdir(parents=True, exist_ok=True)
    with open(pbx_folder() / f"{suite}.lock", "a") as file:
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                say(suite, waiting)
            fcntl.flock(file, operation)
        yield file.fileno()


def say(suite: str, text: str) -> None:
    print(f"[{suite}] {text}", flush=True)


def asterisk_version(chroot: Path) -> str | None:
    """The version that the chroot's Asterisk tells of itself ("22.10.1"), or None when it doesn't run."""
    try:
        done = subprocess.run(
            ["chroot", str(chroot), "asterisk", "-V"],
            capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"Asterisk (\d+(?:\.\d+)+)", done.stdout)
    return found[1] if done.returncode == 0 and found else None


def apt_mirrors() -> list[str]:
    """The Debian archives that this machine's apt is set up with, in its order, without security archives."""
    named = os.environ.get("AMIWEB_PBX_MIRROR")
    if named:
        return [mirror.rstrip("/") for mirror in named.split()]
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    mirrors: list[str] = []
    for line in done.stdout.splitlines():
        uri, release, component = (*line.split(), "", "", "")[:3]
        if component != "main" or release.endswith("-security"):
            continue
        if uri.startswith("mirror+file:"):
            # A file of mirrors, as cloud images have: its first line will do.
            with suppress(OSError, IndexError):
                uri = Path(uri.removeprefix("mirror+file:").rstrip("/")).read_text().split()[0]
        uri = uri.rstrip("/")
        # Sources of other projects have a component "main" as well; only Debian's archive holds these
        # suites, and the probe below finds out which it is.
        if uri and uri not in mirrors:
            mirrors.append(uri)
    return mirrors


def find_mirror(suite: str, scratch: Path) -> str:
    """The first of the machine's mirrors that has the suite; asked by apt's own means, proxies included.

    Raises NotInstallable when every mirror answers that it hasn't, ProvisionError when one couldn't be asked.
    """
    mirrors = apt_mirrors()
    if not mirrors:
        raise ProvisionError(
            "apt on this machine names no archive with a component 'main'; "
            "set AMIWEB_PBX_MIRROR to a Debian mirror"
        )
    problems = []
    for mirror in mirrors:
        done = subprocess.run(
            [APT_HELPER, "download-file", f"{mirror}/dists/{suite}/InRelease", str(scratch / "InRelease")],
            capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        if done.returncode == 0:
            return mirror
        if not re.search(r"\b404\b|File not found", done.stderr):
            problems.append(
                next((line for line in done.stderr.splitlines() if line.startswith("E:")), "no answer")
            )
    if problems:
        raise ProvisionError(f"no mirror of this machine's apt could be asked for {suite}: {problems[0]}")
    raise NotInstallable(
        f"none of this machine's apt mirrors has the suite {suite} (AMIWEB_PBX_MIRROR names another)"
    )


@functools.cache
def apt_proxy() -> dict[str, str]:
    """debootstrap fetches with wget, which knows nothing of apt's proxy."""
    environment = {}
    for scheme in ("http", "https"):
        done = subprocess.run(
            ["apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy"],
            capture_output=True,
            text=True,
            check=False,
        )
        value = "".join(shlex.split(done.stdout.strip().removeprefix("PROXY=")))
        if value and value != "DIRECT":
            environment[f"{scheme}_proxy"] = value
    return environment


def apt_settings() -> str:
    """How this machine's apt fetches (proxies, date checks, retries), to be repeated inside the chroot."""
    done = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False)
    return "".join(
        f"{line}\n" for line in done.stdout.splitlines() if not line.startswith("Acquire::IndexTargets")
    )


def run_logged(log: Path, *command: str | Path, lock: int | None = None) -> None:
    """Run a command, its output to `log`; on failure raise with the last telling line of that output.

    The command holds the `lock` too: should we be killed, nobody may build where it is still at work.
    """
    environment = {**os.environ, **apt_proxy(), "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    with open(log, "ab") as output:
        code = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
            pass_fds=() if lock is None else (lock,), check=False,
        ).returncode  # fmt: skip
    if code:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        telling = (
            [line for line in lines if line.startswith(("E:", "Err", "dpkg: error"))]
            or lines
            or ["no output"]
        )
        name = " ".join(str(part) for part in command if "/" not in str(part))[:60]
        failure = NotInstallable if any(NOT_IN_SUITE.search(line) for line in lines) else ProvisionError
        raise failure(f"{name} failed ({code}): {telling[-1]} (all of it: {log})")


def remove_chroot(chroot: Path) -> None:
    """Remove a chroot. It stays on its file system, in case somebody has mounted something into it."""
    if chroot.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", "--", str(chroot)], check=True)


def build(suite: Suite, lock: int) -> Finished:
    """Build a suite's chroot from nothing; `lock` is its exclusive lock, held by the caller."""
    chroot, log = chroot_of(suite.name), pbx_folder() / f"{suite.name}.log"
    remove_chroot(chroot)
    unavailable_marker(suite.name).unlink(missing_ok=True)
    log.write_text("")
    scratch = pbx_folder() / f"{suite.name}.scratch"
    scratch.mkdir(exist_ok=True)
    try:
        mirror = find_mirror(suite.name, scratch)
    finally:
        shutil.rmtree(scratch)
    say(suite.name, "installing Debian's base system ...")
    run_logged(log, "debootstrap", "--variant=minbase", suite.name, chroot, mirror, lock=lock)
    (chroot / "etc/apt/apt.conf.d/90amiweb").write_text(apt_settings())
    # No fsync for every file of a thing that is rebuilt when broken; no handbooks (Asterisk's own
    # documentation, which `manager show command` prints, is elsewhere and stays).
    (chroot / "etc/dpkg/dpkg.cfg.d/amiweb").write_text(
        "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n"
    )
    # A package must not start its service here.
    policy = chroot / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    say(suite.name, "installing Asterisk ...")
    # debootstrap has left the package lists that it verified, so no update is needed before.
    run_logged(log, "chroot", chroot, *APT_INSTALL, lock=lock)
    run_logged(log, "chroot", chroot, "apt-get", "clean", lock=lock)
    version = asterisk_version(chroot)
    if version is None:
        raise ProvisionError(f"the Asterisk in {chroot} doesn't run (how it was installed: {log})")
    package = subprocess.run(
        ["chroot", str(chroot), "dpkg-query", "-W", "-f", "${Version}", "asterisk"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    marker = chroot / MARKER
    data = {"recipe": RECIPE, "suite": suite.name, "version": version, "package": package}
    marker.with_suffix(".new").write_text(json.dumps(data, indent=1) + "\n")
    marker.with_suffix(".new").rename(marker)
    return Finished(suite.name, version, package, chroot)


def provision(suite: Suite, *, fresh: bool = False) -> Finished:
    """Make sure that a suite's chroot is there; a finished one is used as it is unless `fresh`."""

    def usable() -> Finished | None:
        finished = None if fresh else read_finished(suite.name)
        return finished if finished and asterisk_version(finished.chroot) == finished.version else None

    finished = usable()
    if finished:
        say(suite.name, f"Asterisk {finished.version} is there ({finished.chroot})")
        return finished
    with suite_lock(
        suite.name, shared=False, waiting="in use by another process; waiting for it ..."
    ) as lock:
        finished = usable()  # the one that we waited for may have built it
        if not finished:
            started = time.monotonic()
            finished = build(suite, lock)
            seconds = time.monotonic() - started
            say(suite.name, f"Asterisk {finished.version} installed in {seconds:.0f} s ({finished.chroot})")
        return finished


def check_machine() -> None:
    """Raise ProvisionError when this machine can't provision at all."""
    if not sys.platform.startswith("linux"):
        raise ProvisionError("a real Asterisk for the tests needs Linux; the other tests run without it")
    if os.geteuid() != 0:
        raise ProvisionError(
            "must run as root (debootstrap and chroot need it); the other tests run without it"
        )
    missing = [program for program in REQUIRED_PROGRAMS if not shutil.which(program)]
    if "apt-get" in missing:
        raise ProvisionError("needs Debian or a relative (no apt-get here); the other tests run without it")
    if missing:
        raise ProvisionError(f"{' and '.join(missing)} not installed; apt-get install {' '.join(missing)}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.pbx.provision", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "suites", nargs="*", metavar="suite", help=f"of {', '.join(SUITES)}; all of them by default"
    )
    parser.add_argument("--fresh", action="store_true", help="rebuild what is there (sid moves on)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"unknown suite {unknown[0]}; there are {', '.join(SUITES)}")
    try:
        check_machine()
    except ProvisionError as error:
        print(f"pbx: {error}", file=sys.stderr)
        return 1

    def one(name: str) -> bool:
        suite = SUITES[name]
        try:
            provision(suite, fresh=options.fresh)
        except NotInstallable as error:
            unavailable_marker(name).write_text(f"{error}\n")
            say(name, f"not installable: {error}")
            return not suite.required
        except (ProvisionError, OSError, subprocess.SubprocessError) as error:
            print(f"pbx: {name}: {error}", file=sys.stderr)
            return False
        return True

    names = options.suites or list(SUITES)
    # Side by side: unpacking is bound by one core each.
    try:
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            return 0 if all(list(pool.map(one, names))) else 1
    except KeyboardInterrupt:
        print("pbx: interrupted; what is half built will be built anew", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
