"""Many sessions: on a pool of processes, or on a Dask cluster when given its address. The result is the same on all."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from igrt_hw import __version__
from igrt_hw.campaign.room import room_factory
from igrt_hw.campaign.session import BrokenPromise, SessionReport, run_session
from igrt_hw.models.base import Frozen

CHUNK = 25
VIOLATIONS_KEPT = 1_000


class CampaignError(Exception):
    """The campaign cannot run; the sentence says what to do."""


class CampaignReport(Frozen):
    """What a campaign came to. `log_hash` covers every record, octet and true position of every session, in order."""

    version: str
    first_seed: int
    sessions: int
    jobs: int
    cluster: str
    wall_s: float
    core_s: float
    """Seconds of processor time in sessions, over all processes."""
    virtual_s: float
    moved_s: float
    log_hash: str
    arrivals: int
    stops: int
    crashes: int
    quiet_sessions: int
    """Sessions in which nothing was made to go wrong and nothing was short-lived: those in which alarms of links,
    terminal, devices and expiry are a nuisance."""
    nuisance_alarms: int
    nuisance_seeds: tuple[int, ...]
    faults: dict[str, int]
    alarms: dict[str, int]
    states: dict[str, int]
    violations: tuple[BrokenPromise, ...]
    violations_total: int
    errors: dict[int, str]
    """Seeds whose session could not be run to its end, with the reason: a defect, here or in what is driven."""

    @property
    def passed(self) -> bool:
        """No promise broken, and no session lost."""
        return not self.violations_total and not self.errors

    @property
    def sessions_per_core_s(self) -> float:
        """Sessions a second of processor time."""
        return self.sessions / self.core_s if self.core_s else 0.0


class Lot(Frozen):
    """What one process made of a lot of seeds."""

    first_seed: int
    reports: tuple[SessionReport, ...]
    errors: dict[int, str]
    core_s: float


def run_lot(first_seed: int, count: int) -> Lot:
    """Run the sessions of `count` seeds one after the other, here."""
    logging.getLogger("igrt_hw").setLevel(
        logging.ERROR
    )  # links that are cut warn, thousands of times
    begun_s = time.process_time()
    reports: list[SessionReport] = []
    errors: dict[int, str] = {}
    for seed in range(first_seed, first_seed + count):
        try:
            reports.append(run_session(seed))
        except (
            Exception
        ) as error:  # one lost session must not lose the campaign; it is reported and fails it
            errors[seed] = f"{type(error).__name__}: {error}"
    return Lot(
        first_seed=first_seed,
        reports=tuple(reports),
        errors=errors,
        core_s=time.process_time() - begun_s,
    )


class Tally:
    """Adds up lots in the order of their seeds, however they come in."""

    def __init__(self, first_seed: int) -> None:
        self.sessions = 0
        self.violations: list[BrokenPromise] = []
        self.violations_total = 0
        self.errors: dict[int, str] = {}
        self._next_seed = first_seed
        self._waiting: dict[int, Lot] = {}
        self._digest = hashlib.sha256()
        self._sums: Counter[str] = Counter()
        self._times = [0.0, 0.0, 0.0]
        self._faults: Counter[str] = Counter()
        self._alarms: Counter[str] = Counter()
        self._states: Counter[str] = Counter()
        self._nuisance: list[int] = []
        self._first_seed = first_seed

    def add(self, lot: Lot) -> None:
        """One more lot."""
        self._waiting[lot.first_seed] = lot
        while self._next_seed in self._waiting:
            ready = self._waiting.pop(self._next_seed)
            self._next_seed += len(ready.reports) + len(ready.errors)
            self._take(ready)

    def _take(self, lot: Lot) -> None:
        self.errors |= lot.errors
        self._times[0] += lot.core_s
        for report in lot.reports:
            self.sessions += 1
            self._digest.update(f"{report.seed}:{report.log_hash}\n".encode())
            self._times[1] += report.virtual_s
            self._times[2] += report.moved_s
            self._faults.update(report.faults)
            self._alarms.update(report.alarms)
            self._states[report.state] += 1
            self._sums.update(
                arrivals=report.arrivals,
                stops=report.stops,
                crashes=report.crashes,
                quiet=1 if report.calm else 0,
                nuisance=report.nuisance,
            )
            if report.nuisance:
                self._nuisance.append(report.seed)
            self.violations_total += len(report.violations)
            if len(self.violations) < VIOLATIONS_KEPT:
                self.violations += report.violations

    def report(self, jobs: int, cluster: str, wall_s: float) -> CampaignReport:
        """The sum so far."""
        core_s, virtual_s, moved_s = self._times
        return CampaignReport(
            version=__version__,
            first_seed=self._first_seed,
            sessions=self.sessions,
            jobs=jobs,
            cluster=cluster,
            wall_s=wall_s,
            core_s=core_s,
            virtual_s=virtual_s,
            moved_s=moved_s,
            log_hash=self._digest.hexdigest(),
            arrivals=self._sums["arrivals"],
            stops=self._sums["stops"],
            crashes=self._sums["crashes"],
            quiet_sessions=self._sums["quiet"],
            nuisance_alarms=self._sums["nuisance"],
            nuisance_seeds=tuple(self._nuisance[:20]),
            faults=dict(self._faults.most_common()),
            alarms=dict(self._alarms.most_common()),
            states=dict(self._states.most_common()),
            violations=tuple(self.violations),
            violations_total=self.violations_total,
            errors=self.errors,
        )


LotRunner = Callable[[Sequence[tuple[int, int]]], Iterable[Lot]]


def run_campaign(
    sessions: int,
    seed: int,
    *,
    jobs: int = 1,
    dask: str = "",
    progress: Callable[[Tally], None] = lambda tally: None,
) -> CampaignReport:
    """Run `sessions` sessions from `seed` on. `dask`: address of a scheduler, in place of `jobs` processes here.

    Raises `CampaignError`, or `NoSimulatorError` where the simulator is not installed.
    """
    if sessions < 1 or jobs < 1:
        raise CampaignError("a campaign has at least one session and one job")
    room_factory()
    lots = [
        (first, min(CHUNK, seed + sessions - first))
        for first in range(seed, seed + sessions, CHUNK)
    ]
    tally = Tally(seed)
    begun_s = time.monotonic()
    with _runner(jobs, dask) as run:
        for lot in run(lots):
            tally.add(lot)
            progress(tally)
    return tally.report(jobs, dask, time.monotonic() - begun_s)


@contextmanager
def _runner(jobs: int, dask: str) -> Iterator[LotRunner]:
    if dask:
        with _cluster(dask) as run:
            yield run
    elif jobs == 1:
        yield lambda lots: (run_lot(*lot) for lot in lots)
    else:
        with _pool(jobs) as run:
            yield run


@contextmanager
def _pool(jobs: int) -> Iterator[LotRunner]:
    # Spawned, not forked: threads of the parent (a progress bar, BLAS) must not be cut in half.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        try:
            yield lambda lots: pool.map(run_lot, *zip(*lots, strict=True))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _cluster(address: str) -> Iterator[LotRunner]:
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise CampaignError(
            "a campaign on a cluster needs dask.distributed, here and on the workers: pip install 'igrt-hw[campaign]'"
        ) from error
    try:
        client: Any = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise CampaignError(f"no Dask scheduler at {address}: {error}") from error

    def run(lots: Sequence[tuple[int, int]]) -> Iterable[Lot]:
        firsts, counts = zip(*lots, strict=True)
        futures = client.map(run_lot, firsts, counts, pure=False)
        for future in as_completed(futures):
            yield future.result()
            future.release()

    with client:
        if not client.scheduler_info()["workers"]:
            raise CampaignError(f"the Dask cluster at {address} has no workers: start some")
        yield run
