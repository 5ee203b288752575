"""The one byte form of a value that is hashed: two equal values give equal octets, on every machine.

Canonical form: JSON (RFC 8259) in UTF-8; object keys sorted by code point; no blank space; strings
unescaped but for what JSON demands; integers in decimal; a float as the shortest decimal that reads back as
the same IEEE 754 double (Python's `repr`), negative zero as `0.0`; tuples and lists as arrays; NaN and
infinity refused. An integer and a float of equal value differ (`1` and `1.0`), so a model that declares
`float` is coerced by its own fields before it comes here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from enum import Enum

from pydantic import BaseModel


class NotCanonicalError(ValueError):
    """A value that has no canonical form: NaN, infinity, a key that is not a string, an unknown type."""


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def canonical_bytes(value: object) -> bytes:
    """The canonical form of `value` (a model, mapping, sequence, string, number, bool or None).

    Raises `NotCanonicalError` naming the place.
    """
    try:
        plain = _quick(value)
    except NotCanonicalError:
        plain = _plain(value, "value")  # raises again, and names the place
    return _ENCODER.encode(plain).encode()


def canonical_digest(value: object) -> str:
    """SHA-256 of the canonical form, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def _quick(value: object) -> object:
    """The same as `_plain` for the types that nearly everything is made of, without keeping the place at hand."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if isinstance(value, float) and kind is float:
        return _number(value, "")
    if isinstance(value, tuple | list) and (kind is tuple or kind is list):
        return [_quick(item) for item in value]
    if isinstance(value, dict) and kind is dict and all(type(key) is str for key in value):
        return {key: _quick(item) for key, item in value.items()}
    if isinstance(value, BaseModel):
        return _quick(value.model_dump(mode="python"))
    return _plain(value, "")


def _plain(value: object, where: str) -> object:
    if isinstance(value, Enum):
        return _plain(value.value, where)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return _number(value, where)
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="python"), where)
    if isinstance(value, Mapping):
        return _object(value, where)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise NotCanonicalError(
        f"{where} is a {type(value).__name__}, which has no canonical form; convert it first"
    )


def _number(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise NotCanonicalError(f"{where} is {value}; only finite numbers have a canonical form")
    return value + 0.0  # adding zero turns -0.0 into 0.0: one value, one form


def _object(value: Mapping[object, object], where: str) -> dict[str, object]:
    plain: dict[str, object] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise NotCanonicalError(f"{where} has the key {key!r}; keys must be strings")
        plain[key] = _plain(item, f"{where}.{key}")
    return plain
