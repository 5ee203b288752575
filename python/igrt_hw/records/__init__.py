"""The record: append-only, hash-chained, in an embedded store; what happened, by whom, and what moved."""

from igrt_hw.records.chain import GENESIS, ChainProblem, entry_digest
from igrt_hw.records.recovery import Finding, recovery
from igrt_hw.records.store import RecordStore, RecordStoreError

__all__ = [
    "GENESIS",
    "ChainProblem",
    "Finding",
    "RecordStore",
    "RecordStoreError",
    "entry_digest",
    "recovery",
]
