"""The message dictionary of CLP/1, read from the text that is part of the specification.

The text is shipped as package data (`clp1.dictionary`, the same file as in `docs/`). Its hash goes
into the CRC of every session message, so that two ends with different dictionaries cannot mistake
each other's bytes. The grammar is in the comments at the head of the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

TEXT: Final[str] = resources.files(__package__).joinpath("clp1.dictionary").read_text("utf-8")

HASH_LEN: Final = 8
BASE_TYPE_MAX: Final = 0x20  # base messages lie below, and are framed with an all-zero hash
BASE_REPLIES: Final = frozenset({0x81, 0x82})

_SCALARS: Final[Mapping[str, str]] = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i32": "i"}
_LINE = re.compile(r"^(?P<direction>[HD]) (?P<type>[0-9a-f]{2}) (?P<name>[A-Z_]+)(?P<fields>.*)$")
_FIELD = re.compile(r"(\w+):(tail|[ui]\d+|b\d+|\d+\*[ui]\d+|\w+\*\([^)]*\))")


class DictionaryError(ValueError):
    """The dictionary text breaks its own grammar."""


@dataclass(frozen=True, slots=True)
class Field:
    """`count` values of struct code `code`; raw octets have code "s" and `count` octets."""

    name: str
    code: str
    count: int = 1
    is_array: bool = False


@dataclass(frozen=True, slots=True)
class Repeat:
    """A group repeated as many times as the earlier field `counted_by` says."""

    name: str
    counted_by: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """One line of the dictionary. `tail` names a field that is the rest of the body."""

    direction: str
    type: int
    name: str
    fields: tuple[Field, ...]
    repeat: Repeat | None
    tail: str | None

    @property
    def is_base(self) -> bool:
        """Whether the message is framed with an all-zero dictionary hash."""
        return is_base_type(self.type)

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of all fields of the body, in order."""
        names = [field.name for field in self.fields]
        if self.repeat is not None:
            names.append(self.repeat.name)
        if self.tail is not None:
            names.append(self.tail)
        return tuple(names)


def is_base_type(type_code: int) -> bool:
    """Whether a message type belongs to the base messages (protocol.md, section 1)."""
    return type_code < BASE_TYPE_MAX or type_code in BASE_REPLIES


def dictionary_hash(text: str) -> bytes:
    """First 8 octets of SHA-256 over the text without comment lines, each line ended by one LF."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).digest()[:HASH_LEN]


def parse_dictionary(text: str) -> tuple[MessageSpec, ...]:
    """Read the dictionary. Raises `DictionaryError` naming the line that breaks the grammar."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if not lines or not lines[0].startswith("clp "):
        raise DictionaryError("a dictionary begins with a line 'clp MAJOR.MINOR'")
    return tuple(_parse_message(line) for line in lines[1:])


def _parse_message(line: str) -> MessageSpec:
    match = _LINE.match(line)
    if match is None:
        raise DictionaryError(f"not a message: {line!r}")
    text = match["fields"].strip()
    found = _FIELD.findall(text)
    if " ".join(f"{name}:{kind}" for name, kind in found) != text:
        raise DictionaryError(f"cannot read the fields of {match['name']}: {text!r}")
    fields: list[Field] = []
    repeat: Repeat | None = None
    tail: str | None = None
    for name, kind in found:
        if repeat is not None or tail is not None:
            raise DictionaryError(f"{match['name']}: nothing may follow a repeat or a tail")
        if kind == "tail":
            tail = name
        elif "(" in kind:
            counted_by, group = kind[:-1].split("*(", 1)
            inner = tuple(_parse_field(*part.split(":", 1)) for part in group.split())
            repeat = Repeat(name, counted_by, inner)
        else:
            fields.append(_parse_field(name, kind))
    return MessageSpec(
        match["direction"], int(match["type"], 16), match["name"], tuple(fields), repeat, tail
    )


def _parse_field(name: str, kind: str) -> Field:
    count, _, scalar = kind.rpartition("*")
    if scalar.startswith("b"):
        return Field(name, "s", int(scalar[1:]))
    if scalar not in _SCALARS:
        raise DictionaryError(f"unknown type {kind!r} of field {name!r}")
    if count:
        return Field(name, _SCALARS[scalar], int(count), is_array=True)
    return Field(name, _SCALARS[scalar])


HASH: Final[bytes] = dictionary_hash(TEXT)
SPECS: Final[Mapping[str, MessageSpec]] = {spec.name: spec for spec in parse_dictionary(TEXT)}
