"""`igrt bench`: named figures of this machine, measured now, medians with their noise."""

from igrt_hw.bench.registry import Figure, Metric, Peer, Skipped, measure_all, metrics

__all__ = ["Figure", "Metric", "Peer", "Skipped", "measure_all", "metrics"]
