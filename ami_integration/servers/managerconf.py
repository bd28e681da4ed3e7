"""Reads a manager.conf as Asterisk does: its accounts, and where it listens.

Asterisk's reader of configuration files (main/config.c, the same from 16 to 22) has ways of its own. What
follows is what it does, oddities included: an account that is read otherwise than the PBX reads it can't log
in. tests/pbx/test_managerconf.py compares both. What Asterisk makes of the accounts is main/manager.c's.

Nothing here opens a file: what `#include` and its kin name is told as missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

#: Accounts that are taken from one text.
MOST_ACCOUNTS = 200
#: Ports where general says none (main/manager.c).
PORT, TLS_PORT = 5038, 5039

# main/config.c: a line of as many bytes is skipped, comments nest so deep, names of sections are cut there.
_LONGEST_LINE = 8191
_DEEPEST = 128
_LONGEST_NAME = 79
_MOST_NOTES = 100
#: What Asterisk strips from both ends: everything up to the blank.
_BLANKS = "".join(map(chr, range(33)))
_TRUE = frozenset({"yes", "true", "y", "t", "1", "on"})
#: By the filter behind + (main/config.c): whether it adds to templates, to others, or to both.
_ADDED_TO = {"": (False,), "templates=include": (True, False), "templates=restrict": (True,)}
_INCLUDES = {"include", "tryinclude", "exec"}


@dataclass(frozen=True)
class Note:
    """What somebody should know of a line; the first line is 1."""

    line: int
    text: str


@dataclass(frozen=True)
class Account:
    """A section with an AMI account.

    Attributes:
        secret: "" where it has none, and so can't log in.
        read, write: what stands behind `read=` and `write=`.
        rules: its `deny`, `permit` and `acl` lines, in order.
    """

    name: str
    line: int
    secret: str = field(repr=False)
    read: str = ""
    write: str = ""
    rules: Sequence[str] = ()


@dataclass(frozen=True)
class Listening:
    """Where [general] says that AMI listens; "" for the address where it says nothing."""

    enabled: bool = False
    address: str = ""
    port: int = PORT
    tls: bool = False
    tls_address: str = ""
    tls_port: int = TLS_PORT


@dataclass
class ManagerConf:
    """What a text says.

    Attributes:
        missing: what it takes from elsewhere, which may hold further accounts, or parts of these.
        refused: why Asterisk itself would refuse the whole file; the rest is read all the same.
    """

    accounts: list[Account] = field(default_factory=list)
    listening: Listening = field(default_factory=Listening)
    missing: list[Note] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    refused: list[Note] = field(default_factory=list)


@dataclass
class _Section:
    name: str
    line: int
    template: bool = False
    variables: list[tuple[str, str]] = field(default_factory=list, repr=False)


def conf_read(text: str) -> ManagerConf:
    """Read the text of a manager.conf. Never raises for what stands in it."""
    found = ManagerConf()
    reader = _Reader(found)
    for number, line in _lines(text.removeprefix("\ufeff"), found):
        reader.line(number, line)
    found.listening = _listening(reader.sections)
    found.accounts = _accounts(reader.sections)
    if len(found.accounts) > MOST_ACCOUNTS:
        many = f"There are {len(found.accounts):,} accounts; these are the first {MOST_ACCOUNTS}."
        found.notes.append(Note(found.accounts[MOST_ACCOUNTS].line, many))
        del found.accounts[MOST_ACCOUNTS:]
    for notes in (found.missing, found.notes, found.refused):
        del notes[_MOST_NOTES:]
    return found


def _lines(text: str, found: ManagerConf) -> Iterator[tuple[int, str]]:
    """The lines without their comments and the blanks around, and without those that are empty then."""
    comment, begun = 0, [0] * _DEEPEST
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line.encode(errors="surrogateescape")) >= _LONGEST_LINE:
            found.notes.append(Note(number, f"Asterisk skips lines of {_LONGEST_LINE:,} bytes and more."))
            continue
        before = comment
        read, comment = _without_comments(line, comment, begun, number)
        if comment < 0 <= before:
            says = "This --; ends no comment, and Asterisk ignores all lines that follow. Take it out."
            found.notes.append(Note(number, says))
        if read:
            yield number, read
    if comment > 0:
        line_number = begun[min(comment, _DEEPEST) - 1]
        says = "The comment that begins here by ;-- isn't ended by --; and takes in all that follows."
        found.notes.append(Note(line_number, says))


def _without_comments(line: str, comment: int, begun: list[int], number: int) -> tuple[str, int]:
    """What Asterisk processes of a line, and how deep in comments it is behind it.

    Its buffer is one of C: what is cut off stays behind a NUL, and is looked at from there on.
    """
    chars = [*line, "\0", "\0", "\0", "\0"]
    at, process = 0, None if comment else 0
    while True:
        try:
            mark = chars.index(";", at, chars.index("\0", at))
        except ValueError:
            break
        if mark > at and chars[mark - 1] == "\\":
            del chars[mark - 1]
            at = mark
        elif chars[mark + 1 : mark + 3] == ["-", "-"] and chars[mark + 3] != "-":
            if comment >= _DEEPEST:
                break
            chars[mark] = "\0"
            at = mark + 3
            comment += 1
            if comment > 0:
                begun[comment - 1] = number
        elif mark >= at + 2 and chars[mark - 2 : mark] == ["-", "-"]:
            comment -= 1
            at = mark + 1
            if comment == 0 and process is None:
                process = at
            elif comment == 0 and process is not None:
                end = chars.index("\0", process)
                rest = chars[at : chars.index("\0", at) + 1]
                chars[end : end + len(rest)] = rest
                at = end
        elif comment:
            at = mark + 1
        else:
            chars[mark] = "\0"
            at = mark
    if process is None:
        return "", comment
    return "".join(chars[process : chars.index("\0", process)]).strip(_BLANKS), comment


class _Reader:
    """Makes sections of lines."""

    def __init__(self, found: ManagerConf) -> None:
        self.found = found
        self.sections: list[_Section] = []
        self.current: _Section | None = None

    def line(self, number: int, text: str) -> None:
        if text[0] == "[":
            self._section(number, text)
        elif text[0] == "#":
            self._directive(number, text)
        else:
            self._variable(number, text)

    def _refused(self, number: int, text: str) -> None:
        self.found.refused.append(Note(number, text))

    def _named(self, name: str, templates: tuple[bool, ...]) -> _Section | None:
        lowered = _lowered(name)
        found = (section for section in self.sections if _lowered(section.name) == lowered)
        return next((section for section in found if section.template in templates), None)

    def _section(self, number: int, text: str) -> None:
        name, bracket, behind = text[1:].partition("]")
        if not bracket:
            self._refused(number, "The section's name isn't closed by ].")
            return
        cut = name.encode(errors="surrogateescape")[:_LONGEST_NAME].decode(errors="ignore")
        section: _Section = _Section(cut, number)
        added = False
        if behind.startswith("("):
            options, closed, _ = behind[1:].partition(")")
            if not closed:
                self._refused(number, f"What stands behind [{name}] isn't closed by ).")
                self.current = section
                return
            for option in options.split(","):
                if option == "!":
                    section.template = True
                elif option.startswith("+"):
                    filtered = option[1:].strip(_BLANKS).lower()
                    named = self._named(name, _ADDED_TO.get(filtered, ()))
                    if named is None:
                        self._refused(number, self._why_not_added(name, filtered))
                        continue
                    named.variables += section.variables
                    section, added = named, True
                else:
                    base = self._named(option, (True, False))
                    if base is None:
                        self._refused(number, f"[{name}] builds on [{option}], which isn't there above it.")
                        continue
                    section.variables += base.variables
        self.current = section
        if not added:
            self.sections.append(section)

    def _why_not_added(self, name: str, filtered: str) -> str:
        if filtered not in _ADDED_TO:
            return f"amiweb doesn't know what [{name}](+{filtered[:40]}) adds to."
        if not filtered and self._named(name, (True,)):
            return f"[{name}] is a template: to add to it, write (+TEMPLATES=restrict) instead of (+)."
        return f"[{name}](+) adds to a section that isn't there above it."

    def _directive(self, number: int, text: str) -> None:
        word, _, argument = text[1:].replace("\t", " ").partition(" ")
        argument = argument.strip(_BLANKS)
        name = word.lower()
        if name not in _INCLUDES:
            self.found.notes.append(Note(number, f"Asterisk knows no #{word[:40]} and ignores the line."))
        elif not argument:
            self.found.notes.append(Note(number, f"#{name} names nothing, and Asterisk ignores it."))
        else:
            pairs = {'"': '"', "<": ">"}
            if len(argument) > 1 and pairs.get(argument[0]) == argument[-1]:
                argument = argument[1:-1]
            self.found.missing.append(Note(number, f"#{name} {argument[:200]}"))

    def _variable(self, number: int, text: str) -> None:
        if self.current is None:
            self._refused(number, "A setting stands above the first [section].")
            return
        escaped = text[0] == "\\"
        if escaped:
            text = text[1:]
            if not text or text[0] in _BLANKS:
                self._refused(number, "Nothing stands behind the backslash.")
                return
        equals = text.find("=", 1 if escaped else 0)
        if equals < 0:
            self.found.notes.append(Note(number, "There is no = in the line, and Asterisk ignores it."))
            return
        name, value = text[:equals], text[equals + 1 :]
        variables = self.current.variables
        if equals > (1 if escaped else 0) and name.endswith("+"):
            name = name[:-1].strip(_BLANKS)
            same = [at for at, (known, _) in enumerate(variables) if known == name]
            if same:
                variables[same[-1]] = (name, (variables[same[-1]][1] + value).strip(_BLANKS))
                return
        elif value.startswith(">"):
            value = value[1:]
        name = name.strip(_BLANKS)
        if not name:
            self.found.notes.append(
                Note(number, "No name stands before the =, and Asterisk ignores the line.")
            )
            return
        variables.append((name, value.strip(_BLANKS)))


def _lowered(name: str) -> str:
    """As strcasecmp compares in Asterisk's locale: only ASCII has two cases."""
    return "".join(char.lower() if char.isascii() else char for char in name)


def _accounts(sections: Sequence[_Section]) -> list[Account]:
    found: dict[str, Account] = {}
    for section in sections:
        key = _lowered(section.name)
        if section.template or key == "general" or not section.name:
            continue
        known = found.get(key) or Account(section.name, section.line, "")
        values = {"secret": known.secret, "read": known.read, "write": known.write}
        rules = [*known.rules]
        for name, value in section.variables:
            lowered = name.lower()
            if lowered in values:
                values[lowered] = value
            elif lowered in ("deny", "permit", "acl"):
                rules.append(f"{lowered} {value}")
        found[key] = Account(known.name, known.line, rules=tuple(rules), **values)
    return list(found.values())


def _listening(sections: Sequence[_Section]) -> Listening:
    general = [
        section for section in sections if not section.template and _lowered(section.name) == "general"
    ]
    said = {name.lower(): value for section in general[:1] for name, value in section.variables}
    tls_address, tls_port = _address(said.get("tlsbindaddr") or said.get("sslbindaddr") or "")
    address, _ = _address(said.get("bindaddr", ""))
    return Listening(
        enabled=_true(said.get("enabled")),
        address=address,
        port=_port(said.get("port")) or PORT,
        tls=_true(said.get("tlsenable") or said.get("sslenable")),
        tls_address=tls_address,
        tls_port=_port(said.get("tlsbindport") or said.get("sslbindport")) or tls_port or TLS_PORT,
    )


def _true(value: str | None) -> bool:
    return (value or "").lower() in _TRUE


def _port(value: str | None) -> int | None:
    text = value or ""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    return number if 0 < number < 65536 else None


def _address(value: str) -> tuple[str, int | None]:
    """A host and perhaps a port, as in 192.0.2.1:5039 or [2001:db8::1]:5039; an address of none is ""."""
    host, port = value, None
    if value.startswith("["):
        host, _, rest = value[1:].partition("]")
        port = _port(rest.removeprefix(":"))
    elif value.count(":") == 1:
        host, _, rest = value.partition(":")
        port = _port(rest)
    return ("" if host in ("0.0.0.0", "::", "*") else host), port  # noqa: S104 - what others listen on
