"""One entry of the append-only, hash-chained record."""

from igrt_hw.models.base import Frozen


class RecordEntry(Frozen):
    """`digest` is SHA-256 over `previous` and the canonical form of all other fields.

    The first entry's `previous` is 64 zeros.
    """

    sequence: int
    at_us: int
    at_utc: str
    kind: str
    actor: str
    text: str
    data: dict[str, object]
    previous: str
    digest: str
