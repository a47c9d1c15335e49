"""
Options of a daemon as the fields of a frozen dataclass: INI text becomes one value that was checked once.

Every field is declared by L{option} with its section, kind, meaning and the consequence of a bad choice. The parser,
the checks and the reference file derive from that (L{OptionTable}), so an option can't exist without its documentation.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as IniError
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from tinykv.config_values import Kind

C = TypeVar("C")


class ConfigError(Exception):
    """
    The configuration can't be used.

    @ivar source: The file (or "command line") that it came from.
    @ivar section: The section concerned, or None where it's the file as a whole.
    @ivar name: The option concerned, or None.
    @ivar problem: What is wrong, as a sentence for a person.
    """

    def __init__(self, source: str, section: str | None, name: str | None, problem: str) -> None:
        place = " ".join(part for part in (section and f"[{section}]", name) if part)
        super().__init__(": ".join(part for part in (source, place, problem) if part))
        self.source = source
        self.section = section
        self.name = name
        self.problem = problem


@dataclass(frozen=True)
class Option:
    """
    One option, as the file and the manual show it.

    @ivar name: Its name in the file, and its attribute of the dataclass.
    @ivar meaning: What it does, and what follows from a bad choice: the paragraph in the reference file.
    @ivar secret: Whether its value is kept out of messages.
    """

    name: str
    section: str
    kind: Kind
    default: Any
    meaning: str
    secret: bool

    @property
    def default_text(self) -> str:
        """The default as it stands in the file."""
        return self.kind.render(self.default)


def option(section: str, kind: Kind, default: Any, meaning: str, *, secret: bool = False) -> Any:
    """Declare one option as a dataclass field; a secret is left out of the repr."""
    metadata = {"section": section, "kind": kind, "meaning": " ".join(meaning.split())}
    return field(default=default, repr=not secret, metadata=metadata)


class OptionTable(Generic[C]):
    """
    All options of one daemon.

    @ivar sections: The sections of the file in their order, each with what it's about.
    """

    def __init__(
        self, kind: type[C], sections: dict[str, str], checked: Callable[[C, str], C], head: tuple[str, ...]
    ) -> None:
        """
        @param kind: The dataclass.
        @param checked: Gives a configuration back if its values fit together; raises L{ConfigError} otherwise. It also
            gets the source to name.
        @param head: The first lines of the reference file.
        """
        self.sections = sections
        self._kind: Any = kind
        self._checked = checked
        self._head = head

    def options(self) -> Iterator[Option]:
        """Yield every option in the order of the file."""
        for item in fields(self._kind):
            meta = item.metadata
            yield Option(item.name, meta["section"], meta["kind"], item.default, meta["meaning"], not item.repr)

    def load(self, path: Path) -> C:
        """Read a file; L{ConfigError} if it can't be read or isn't right as a whole."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(str(path), None, None, f"can't be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(str(path), None, None, f"is not UTF-8 text (byte {error.start})") from error
        return self.parse(text, str(path), path.parent)

    def parse(self, text: str, source: str, folder: Path = Path()) -> C:
        """
        Make a configuration of INI text; options that it doesn't name have their defaults.

        @param source: What to call the text in errors.
        @param folder: Where relative paths start.
        @raise ConfigError: On an unknown section or option, a bad value, or values that don't fit together.
        """
        ini = ConfigParser(
            interpolation=None,
            delimiters=("=",),
            comment_prefixes=("#", ";"),
            default_section="",
            empty_lines_in_values=False,
        )
        ini.optionxform = str  # type: ignore[assignment, method-assign]  # documented: keeps names as written
        try:
            ini.read_string(text, source)
        except IniError as error:
            raise ConfigError(source, None, None, " ".join(error.message.split())) from error
        known = {option.name: option for option in self.options()}
        values: dict[str, Any] = {}
        for section in ini.sections():
            if section not in self.sections:
                why = f"no such section; there are {', '.join(self.sections)}"
                raise ConfigError(source, section, None, why)
            for name, raw in ini.items(section):
                found = known.get(name)
                if found is None:
                    raise ConfigError(source, section, name, "no such option")
                if found.section != section:
                    raise ConfigError(source, section, name, f"belongs to section [{found.section}]")
                values[name] = _value(found, raw, source, folder)
        return self._checked(self._kind(**values), source)

    def override(self, config: C, values: Mapping[str, str], source: str = "command line") -> C:
        """
        Change some options of a configuration, given as text by name; paths start at the working directory.

        @raise ConfigError: As L{parse} does.
        """
        known = {option.name: option for option in self.options()}
        changed: dict[str, Any] = {}
        for name, raw in values.items():
            if name not in known:
                raise ConfigError(source, None, name, "no such option")
            changed[name] = _value(known[name], raw, source, Path())
        changing: Any = config
        return self._checked(replace(changing, **changed), source)

    def render(self, config: C) -> str:
        """Write the options that differ from their defaults as INI text that L{parse} reads as an equal value."""
        lines: list[str] = []
        for section in self.sections:
            changed = [o for o in self.options() if o.section == section and getattr(config, o.name) != o.default]
            settings = [f"{o.name} = {o.kind.render(getattr(config, o.name))}" for o in changed]
            if settings:
                lines += [f"[{section}]", *settings, ""]
        return "\n".join(lines)

    def reference(self) -> str:
        """Write the reference file: every option with its meaning and its default, commented out."""
        lines = list(self._head)
        for section, about in self.sections.items():
            lines += ["", "", f"# {about}", f"[{section}]"]
            for found in self.options():
                if found.section == section:
                    meaning = textwrap.wrap(found.meaning, 108, initial_indent="# ", subsequent_indent="# ")
                    setting = f"#{found.name} = {found.default_text}".rstrip()
                    lines += ["", *meaning, f"# ({found.kind.name})", setting]
        return "\n".join(lines) + "\n"


def _value(option: Option, raw: str, source: str, folder: Path) -> Any:
    try:
        value = option.kind.parse(raw.strip())
    except ValueError as error:
        given = "" if option.secret else f", not {raw.strip()!r}"
        raise ConfigError(source, option.section, option.name, f"{error}{given}") from error
    return folder / value if isinstance(value, Path) else value
