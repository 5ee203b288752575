"""The base of everything that crosses a door: frozen, strict about unknown fields, no silent conversion of numbers."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value: immutable, refuses unknown fields, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
