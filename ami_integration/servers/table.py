"""Servers as a table: written as CSV, and read from it.

A row is a server, known by its name. Reading goes through the form of a single server, all rows in one
transaction: a preview is the same, taken back at its end, and so foretells exactly what would happen, the
errors of the database included. No secret is written; columns for them are only read.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.forms import BooleanField, Field

from ami_integration.access.services import (
    servers_visible,
    sites_visible,
    tags_visible,
    user_may_keep_servers,
)
from ami_integration.audit.services import entry_write
from ami_integration.servers.forms import SECRETS, ServerForm
from ami_integration.servers.intake import Change, changes_told, server_form, server_saved
from ami_integration.servers.models import Server, Site, Tag
from ami_integration.spreadsheets import cell_read

#: What a file has of each server, in this order.
COLUMNS = (
    *("name", "site", "tags", "timezone", "enabled", "read_only", "maintenance"),
    *("host", "port", "transport", "tls_ca", "tls_pin"),
    *("ssh_host", "ssh_port", "ssh_username", "ssh_host_key"),
    *("username", "action_username", "secret_source", "secret_name"),
    *("max_sessions", "rate_per_minute", "event_keeping", "event_names", "notes"),
)
#: Columns of which an empty cell empties the setting. In all others it leaves what is stored, or the default.
EMPTIABLE = frozenset(
    {
        *("site", "tags", "tls_ca", "tls_pin", "ssh_host", "ssh_username", "ssh_host_key"),
        *("action_username", "secret_name", "rate_per_minute", "event_names", "notes"),
    }
)
MOST_ROWS = 1000
_YES, _NO = frozenset({"yes", "true", "on", "1"}), frozenset({"no", "false", "off", "0"})
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Problem:
    """What is wrong: in which line of the file (the first is 1) and column ("": the whole line)."""

    line: int
    column: str
    message: str


@dataclass(frozen=True)
class Row:
    """What becomes of one row: `verb` is add, change, same or left."""

    line: int
    name: str
    verb: str
    changes: Sequence[Change] = ()


@dataclass
class Outcome:
    """What a file does, or would do. With a problem in it, nothing."""

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def count(self, verb: str) -> int:
        """How many rows have this verb."""
        return sum(row.verb == verb for row in self.rows)

    @property
    def summary(self) -> str:
        """The numbers, in words."""
        words = (("add", "to add"), ("change", "to change"), ("same", "as they are"), ("left", "left alone"))
        told = [f"{self.count(verb):,} {text}" for verb, text in words if self.count(verb)]
        return ", ".join(told) or "no server"

    @property
    def does_something(self) -> bool:
        return not self.problems and bool(self.count("add") or self.count("change"))


class TableUnreadable(Exception):
    """The file as a whole can't be read. `problem` says where and why."""

    def __init__(self, line: int, column: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(line, column, message)


def table_rows(servers: Iterable[Server]) -> Iterator[list[str]]:
    """The rows of a file with these servers, its head first. Tags and sites should be prefetched."""
    yield list(COLUMNS)
    for server in servers:
        yield [_written(server, name) for name in COLUMNS]


def _written(server: Server, name: str) -> str:
    if name == "tags":
        return " ".join(tag.name for tag in server.tags.all())
    value = getattr(server, name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def has_secrets(text: str) -> bool:
    """Whether there may be secrets in a file, one that can't be read included. Rather once too often."""
    words = text.lower().replace(" ", "_").replace("-", "_")
    return any(name in words for name in (*SECRETS, "passw"))


@dataclass(frozen=True)
class _Read:
    line: int
    cells: dict[str, str]


def _table_read(text: str) -> list[_Read]:
    text = text.removeprefix("\ufeff")
    if "\x00" in text:
        raise TableUnreadable(1, "", "This is no text. Save the table as “CSV UTF-8” and choose that file.")
    head_line = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    head: list[str] = []
    found: list[_Read] = []
    line = 1
    try:
        for cells in reader:
            begins, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not head:
                head = _head(begins, cells)
                continue
            if len(cells) > len(head):
                message = (
                    f"This line has {len(cells)} cells, the first line has {len(head)}. Put what holds a "
                    f"“{delimiter}” between double quotes."
                )
                raise TableUnreadable(begins, "", message)
            if len(found) == MOST_ROWS:
                raise TableUnreadable(
                    begins, "", f"A file holds at most {MOST_ROWS:,} servers. Split it into several."
                )
            filled = [*cells, *[""] * (len(head) - len(cells))]
            found.append(_Read(begins, dict(zip(head, map(cell_read, filled), strict=True))))
    except csv.Error as error:
        raise TableUnreadable(
            line, "", f"This can't be read as CSV ({error}). Look for a double quote that isn't closed."
        ) from None
    if not head:
        raise TableUnreadable(1, "", "The file is empty. Its first line names the columns, as in name,host.")
    if not found:
        raise TableUnreadable(1, "", "The file has a first line, and no server below it.")
    return found


def _head(line: int, cells: Sequence[str]) -> list[str]:
    names = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in cells]
    known = (*COLUMNS, *SECRETS)
    for name, cell in zip(names, cells, strict=True):
        if name not in known:
            shown = cell.strip()[:40] or "without a name"
            raise TableUnreadable(
                line,
                shown,
                f"There is no such column. The columns are {', '.join(known)}; only name must be.",
            )
        if names.count(name) > 1:
            raise TableUnreadable(line, name, "This column is there twice. Take one out.")
    if "name" not in names:
        raise TableUnreadable(line, "name", "The column name is missing: servers are known by their names.")
    return names


def table_apply(*, user: User, text: str, update: bool, address: str, save: bool) -> Outcome:
    """Add and change the servers of a file, all or none.

    Args:
        user: who does it; what they don't see can't be meant, and what they may not do is a problem.
        text: the file.
        update: whether servers that exist are changed; else they are left alone.
        address: where the person is.
        save: False: find out what would happen, and keep nothing.
    """
    outcome = Outcome()
    try:
        read = _table_read(text)
    except TableUnreadable as unreadable:
        outcome.problems.append(unreadable.problem)
        return outcome
    with transaction.atomic():
        _Applying(user, address, update, outcome).rows(read)
        if outcome.problems or not save:
            transaction.set_rollback(True)
        else:
            counts = {"added": outcome.count("add"), "changed": outcome.count("change")}
            entry_write(
                actor=user,
                origin="admin",
                address=address,
                verb="server.import",
                what={"way": "csv"} | counts,
                object_type="server",
            )
    return outcome


class _Applying:
    """One file on its way into the database."""

    def __init__(self, user: User, address: str, update: bool, outcome: Outcome) -> None:
        self.user, self.address, self.update, self.outcome = user, address, update, outcome
        self.may = {what: user_may_keep_servers(user=user, what=what) for what in ("add", "change")}
        self.stored = {server.name: server for server in servers_visible(user=user)}
        self.tags = {tag.name: tag for tag in tags_visible(user=user)}
        self.sites = {site.name: site for site in sites_visible(user=user)}

    def rows(self, read: Sequence[_Read]) -> None:
        lines: dict[str, int] = {}
        for row in read:
            name = row.cells["name"].strip()
            if not name:
                self._problem(row, "name", "Write the name: servers are known by it.")
            elif name in lines:
                self._problem(row, "name", f"Line {lines[name]} has this name, too. Take one out.")
            else:
                lines[name] = row.line
                self._row(row, name)

    def _row(self, row: _Read, name: str) -> None:
        server = self.stored.get(name)
        if server is not None and not self.update:
            self.outcome.rows.append(Row(row.line, name, "left"))
            return
        what = "add" if server is None else "change"
        if not self.may[what]:
            self._problem(row, "", f"You may not {what} servers. Ask an administrator of amiweb.")
            return
        before = len(self.outcome.problems)
        values = self._values(row)
        if len(self.outcome.problems) > before:
            return
        form = server_form(user=self.user, server=server, values=values)
        if not form.is_valid():
            for column, errors in form.errors.items():
                for error in errors:
                    self._problem(row, column if column in form.fields else "", str(error))
            return
        told = changes_told(form)
        saved = server_saved(form=form, user=self.user, origin="admin", address=self.address, way="csv")
        self.outcome.rows.append(Row(row.line, name, what if saved else "same", told if saved else ()))

    def _values(self, row: _Read) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for column, cell in row.cells.items():
            text = cell.strip()
            kind: Field = ServerForm.base_fields[column]
            if column == "tags":
                values[column] = self._tags(row, text)
            elif column == "site":
                values[column] = self._site(row, text)
            elif not text and column not in EMPTIABLE:
                continue
            elif isinstance(kind, BooleanField):
                if text.lower() not in _YES | _NO:
                    self._problem(row, column, f"Write yes or no instead of “{text[:40]}”.")
                values[column] = text.lower() in _YES
            elif column in ("transport", "secret_source", "event_keeping"):
                values[column] = text.lower()
            else:
                values[column] = cell if column in SECRETS else text
        return values

    def _tags(self, row: _Read, text: str) -> list[int]:
        found = []
        for name in dict.fromkeys(text.replace(",", " ").split()):
            if name not in self.tags:
                tag = self._made(row, "tags", Tag(name=name), "tag")
                if not isinstance(tag, Tag):
                    continue
                self.tags[name] = tag
            found.append(self.tags[name].pk)
        return found

    def _site(self, row: _Read, text: str) -> int | None:
        if not text:
            return None
        if text not in self.sites:
            site = self._made(row, "site", Site(name=text), "site")
            if not isinstance(site, Site):
                return None
            self.sites[text] = site
        return self.sites[text].pk

    def _made(self, row: _Read, column: str, new: Tag | Site, kind: str) -> Tag | Site | None:
        """A tag or site that isn't there yet, for who may add one."""
        if not self.user.has_perm(f"ami_integration.add_{kind}"):
            self._problem(row, column, f"There is no {kind} “{new.name[:50]}”, and you may not add one.")
            return None
        try:
            new.full_clean()
        except ValidationError as error:
            for message in error.messages:
                self._problem(row, column, f"“{new.name[:50]}”: {message}")
            return None
        new.save()
        entry_write(
            actor=self.user,
            origin="admin",
            address=self.address,
            verb=f"{kind}.add",
            what={"way": "csv"},
            object_type=kind,
            object_id=new.pk,
            object_name=new.name,
        )
        self.outcome.made.append(f"{kind} {new.name}")
        return new

    def _problem(self, row: _Read, column: str, message: str) -> None:
        self.outcome.problems.append(Problem(row.line, column, message))
