"""A small host in virtual time: enough of CLP/1 to run scenarios, examples and tests without the controller.

It is not a driver: no retransmission timer, no clock estimate (it may look at the room's clock), one command at a time.
Real hosts implement all of `docs/protocol.md`.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from igrt_firmware_sim._firmware import SimulatorError, decode_frame, encode_frame
from igrt_firmware_sim.bench import LINES, VirtualRoom

DICTIONARY = bytes.fromhex("0dd6b6ff9648603b")
LEASE_PERIOD_US = 50_000
FLAG_DEADLINE = 2
AXIS_OCTETS = 21  # of LIMITS_REPLY: kind u8, two i32, three u32
FLOOD, FLOOD_OFFSET = 0xFFFF0001, 0xFFFF0002
READ_MAX = 4096

STOP, HELLO, REFUSED = 0x01, 0x02, 0x1F
LEASE, PLAN_UPLOAD, EXECUTE, PLAN_VOID = 0x21, 0x23, 0x24, 0x25
FAULT_RESET, HOME, JOG, BEAM_GATE = 0x26, 0x27, 0x28, 0x29
ARMS, GANTRY, TECHNIQUE, PREPARE, EXPOSE, FRAME_INFO, FRAME_READ = range(0x40, 0x47)
PANEL_MODE, SERIES = 0x47, 0x48
RADIOGRAPHIC, FLUOROSCOPIC = 1, 2


class RefusedError(SimulatorError):
    """The device refused a command: its code, and its sentence as the message."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"code {code}: {text}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a device."""

    kind: int
    session: int
    seq: int
    epoch: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Projection:
    """One projection of a scan: frame number, source angle, raw counts (rows, cols), the imager's dose-area product."""

    number: int
    source_deg: float
    counts: npt.NDArray[np.uint16]
    dose_area_so_far: int


@dataclass(slots=True)
class _Line:
    number: int
    session: int = 0
    seq: int = 0
    counter: int = 0
    epoch: int = 0
    forced_epoch: int | None = None
    opened: bool = False
    rest: bytes = b""
    status: dict[str, Any] = field(default_factory=dict)
    inbox: list[Message] = field(default_factory=list)


def couch_status(body: bytes) -> dict[str, Any]:
    """COUCH_STATUS by its field names; positions in micrometres and microdegrees."""
    first = "device_us state drive_state stop_cause axis_count flags faults plan_nonce"
    names = (first + " path_ppm lease_age_ms enable_age_ms").split()
    values = struct.unpack_from("<QBBBBIIIIHH", body)
    axes = struct.unpack_from("<18i", body, 32)
    positions = {"primary": axes[:6], "secondary": axes[6:12], "commanded": axes[12:]}
    return dict(zip(names, values, strict=True)) | positions


def imager_status(body: bytes) -> dict[str, Any]:
    """IMAGER_STATUS by its field names."""
    first = "device_us state dropped panel_mode binning flags faults gantry_udeg"
    names = (first + " source_arm_um panel_arm_um anode_heat_ppm dose_area latest_frame").split()
    return dict(zip(names, struct.unpack("<QBBBBIIiiiIII", body), strict=True))


def pendant_status(body: bytes) -> dict[str, Any]:
    """PENDANT_STATUS by its field names."""
    names = (
        "device_us",
        "enable_position",
        "contacts",
        "reserved",
        "flags",
        "faults",
        "jog_keys",
        "press_count",
    )
    return dict(zip(names, struct.unpack("<QBBHIIHH", body), strict=True))


STATUSES = {0x10: couch_status, 0x11: imager_status, 0x12: pendant_status}


class Host:
    """Speaks to a :class:`VirtualRoom` and advances its clock; renews leases on open lines while ``leasing``."""

    def __init__(self, room: VirtualRoom) -> None:
        self.room = room
        self.leasing = True
        self.plan: tuple[bytes, int] | None = None
        self._lines = {name: _Line(number) for number, name in enumerate(LINES, start=1)}
        # Called after every millisecond: a bench watches what must always hold.
        self.watch: Callable[[], None] = lambda: None
        self.last_octets = b""
        self._next_lease_us = 0
        self._nonce = 0
        self._scales: list[float] = []

    def status(self, line: str = "couch") -> dict[str, Any]:
        """The last status message of a line by field names; empty before the first."""
        return self._lines[line].status

    def advance_ms(self, by_ms: float) -> None:
        """Advances the room millisecond by millisecond, renews leases and collects what comes."""
        end_us = self.room.now_us + round(by_ms * 1000)
        while self.room.now_us < end_us:
            if self.leasing and self.room.now_us >= self._next_lease_us:
                self._next_lease_us = self.room.now_us + LEASE_PERIOD_US
                self.lease()
            self.room.advance_us(min(1000, end_us - self.room.now_us))
            for name in LINES:
                self._collect(name)
            self.watch()

    def epoch(self, name: str = "couch") -> int:
        """The STOP epoch that the last message of a line carried."""
        return self._lines[name].epoch

    def use_epoch(self, name: str, epoch: int | None) -> None:
        """Sends with this epoch whatever the device says, as a host that missed a STOP; ``None`` ends it."""
        self._lines[name].forced_epoch = epoch

    def lease(self) -> None:
        """Sends one lease on every open line."""
        for name, line in self._lines.items():
            if line.opened:
                line.counter = (line.counter + 1) & 0xFFFFFFFF
                body = struct.pack("<IQ", line.counter, self.room.now_us)
                self._send(name, LEASE, 0, body, deadline_ms=100)

    def _collect(self, name: str) -> None:
        line = self._lines[name]
        *runs, line.rest = (line.rest + self.room.read(name)).split(b"\0")
        for run in runs:
            decoded = decode_frame("D", run) if run else None
            if decoded is None:
                continue
            (kind, session, seq, _ack, epoch, *_), body = decoded
            line.epoch = epoch
            if kind in STATUSES:
                line.status = STATUSES[kind](body)
            else:
                line.inbox.append(Message(kind, session, seq, epoch, body))

    def frame(
        self, name: str, kind: int, seq: int, body: bytes, *, deadline_ms: float | None
    ) -> bytes:
        """The octets of a command as this host would send it now."""
        line = self._lines[name]
        now_us = int(line.status.get("device_us", self.room.now_us))
        flags = 0 if deadline_ms is None else FLAG_DEADLINE
        deadline_us = (
            0
            if deadline_ms is None
            else (self.room.now_us + round(deadline_ms * 1000)) & 0xFFFFFFFF
        )
        session = 0 if kind == HELLO else line.session
        epoch = (line.epoch if line.forced_epoch is None else line.forced_epoch) & 0xFFFF
        fields = (
            kind,
            session,
            seq,
            0,
            epoch,
            flags,
            line.number,
            now_us & 0xFFFFFFFF,
            deadline_us,
        )
        return encode_frame("H", fields, body)

    def _send(
        self, name: str, kind: int, seq: int, body: bytes, *, deadline_ms: float | None
    ) -> None:
        self.room.write(name, self.frame(name, kind, seq, body, deadline_ms=deadline_ms))

    def _await(self, name: str, seq: int, within_ms: float) -> Message:
        line = self._lines[name]
        end_us = self.room.now_us + round(within_ms * 1000)
        while True:
            self._collect(name)
            for message in line.inbox:
                if message.seq == seq and message.kind != 0xA1:
                    line.inbox.clear()
                    return message
            if self.room.now_us >= end_us:
                raise TimeoutError(f"{name} did not answer seq {seq} within {within_ms} ms")
            self.advance_ms(1)

    def hello(self, name: str = "couch") -> Message:
        """Opens a session."""
        line = self._lines[name]
        line.inbox.clear()
        self._nonce += 1
        body = struct.pack("<BBI", 1, 1, self._nonce) + DICTIONARY
        self._send(name, HELLO, 0, body, deadline_ms=None)
        answer = self._await(name, 0, 200)
        line.session, line.seq, line.counter, line.opened = answer.session, 0, 0, True
        self._next_lease_us = 0
        self.advance_ms(1)
        return answer

    def command(
        self,
        name: str,
        kind: int,
        body: bytes = b"",
        *,
        deadline_ms: float = 100,
        within_ms: float = 200,
    ) -> Message:
        """Sends a sequenced command and waits for its answer.

        Raises:
            RefusedError: the device refused it.
            TimeoutError: no answer.
        """
        line = self._lines[name]
        line.seq = line.seq % 65535 + 1
        self.last_octets = self.frame(name, kind, line.seq, body, deadline_ms=deadline_ms)
        self.room.write(name, self.last_octets)
        answer = self._await(name, line.seq, within_ms)
        if answer.kind == REFUSED:
            raise RefusedError(answer.body[0], answer.body[6:].decode())
        return answer

    def stop(self, name: str = "couch") -> Message:
        """STOP with a new nonce."""
        self._nonce += 1
        line = self._lines[name]
        line.inbox.clear()
        self._send(name, STOP, 0, struct.pack("<BI", 1, self._nonce), deadline_ms=None)
        return self._await(name, 0, 200)

    def upload(
        self,
        waypoints: Sequence[Sequence[float]],
        *,
        ttl_ms: int = 60_000,
        speed_ppm: int = 1_000_000,
    ) -> None:
        """Uploads a plan from where the couch stands through waypoints (mm and degrees), and compares the digest."""
        limits, scales = self._limits()
        start = self.status()["primary"]
        points = [[round(v * s) for v, s in zip(point, scales, strict=True)] for point in waypoints]
        body = hashlib.sha256(b"a proposal").digest() + limits
        body += struct.pack("<IIBB6iII", ttl_ms, speed_ppm, 6, len(points), *start, 500, 200_000)
        body += b"".join(struct.pack("<6i", *point) for point in points)
        answer = self.command("couch", PLAN_UPLOAD, body)
        digest = hashlib.sha256(b"CLP1-PLAN" + body).digest()
        if answer.body[:32] != digest:
            raise SimulatorError("the couch decoded another plan than was sent")
        self.plan = (digest, struct.unpack_from("<I", answer.body, 32)[0])

    def _limits(self) -> tuple[bytes, list[float]]:
        """Digest of the couch's limits, and by axis its units of the line in a millimetre or degree."""
        axes = self.command("couch", 0x22).body
        kinds = axes[1::AXIS_OCTETS]
        self._scales = [1e6 if kind else 1e3 for kind in kinds]
        return hashlib.sha256(b"CLP1-LIMITS" + axes).digest()[:8], self._scales

    def execute(self, *, deadline_ms: float = 100) -> None:
        """Executes the uploaded plan; it moves once the enable is held."""
        if self.plan is None:
            raise SimulatorError("no plan was uploaded")
        digest, nonce = self.plan
        self.command(
            "couch", EXECUTE, digest + struct.pack("<I", nonce) + bytes(16), deadline_ms=deadline_ms
        )

    def upload_relative(self, points: Sequence[Sequence[float]], **options: int) -> None:
        """Uploads a plan through points given in millimetres and degrees from where the couch stands."""
        scales = self._scales or self._limits()[1]
        here = [v / s for v, s in zip(self.status()["primary"], scales, strict=True)]
        self.upload(
            [[at + step for at, step in zip(here, by, strict=True)] for by in points], **options
        )

    def move_by(self, by: Sequence[float]) -> None:
        """Uploads and executes a straight move by millimetres and degrees from where the couch stands."""
        self.upload_relative([by])
        self.execute()

    def jog(self, axis: int, speed: float) -> None:
        """JOG of an axis at mm/s or deg/s; has to be renewed within 200 ms."""
        scales = self._scales or self._limits()[1]
        self.command("couch", JOG, struct.pack("<BBHi", axis, 0, 0, round(speed * scales[axis])))

    def expose(
        self,
        source_deg: float,
        *,
        kvp: float = 80,
        mas: float = 2.0,
        ma: float = 100.0,
        binning: int = 2,
        field_mm: float = 120,
        kind: int = 0,
    ) -> int:
        """Takes one frame with arms out and gantry there; gives its number. Waits for everything it needs.

        The tube gives ``ma`` for ``mas`` / ``ma`` seconds.
        """
        self.command("imager", ARMS, bytes([1, 1]))
        self.wait("imager", lambda status: bool(status["flags"] & 2), within_ms=5000)
        self.technique(kvp, ma, 1000 * mas / ma, binning=binning, field_mm=field_mm)
        return self._shoot(source_deg, kind)

    def technique(
        self, kvp: float, ma: float, ms: float, *, binning: int = 2, field_mm: float = 120
    ) -> None:
        """TECHNIQUE without a filter: tube voltage, tube current, time, and half the side of a square field."""
        half = round(field_mm * 1000)
        body = struct.pack(
            "<HBBHI4i",
            round(kvp * 10),
            0,
            binning,
            round(ma * 10),
            round(ms * 1000),
            -half,
            half,
            -half,
            half,
        )
        self.command("imager", TECHNIQUE, body)

    def panel_mode(self, mode: int, rate_hz: float = 0.0) -> int:
        """PANEL_MODE, and waits until the panel has settled; gives the microseconds of a read-out."""
        period_us = round(1e6 / rate_hz) if rate_hz else 0
        answer = self.command("imager", PANEL_MODE, struct.pack("<BBHI", mode, 0, 0, period_us))
        settled_us, read_out_us = struct.unpack("<QI", answer.body)
        self.wait("imager", lambda status: status["device_us"] >= settled_us, within_ms=2000)
        return int(read_out_us)

    def series(self, source_deg: float, frames: int) -> int:
        """Begins a series of pulses with the source there; arms, technique and mode are set. Gives its first number."""
        self._stand(source_deg)
        self._spin_up()
        body = struct.pack("<HHi", frames, 0, round(source_deg * 1e6))
        number: int = struct.unpack("<I", self.command("imager", SERIES, body).body)[0]
        return number

    def end_series(self) -> None:
        """Ends a series with the pulse under way."""
        self.command("imager", SERIES, bytes(8))

    def extend_arms(self) -> None:
        """Both arms out, and waits for it."""
        self.arms(True)
        self.wait("imager", lambda status: bool(status["flags"] & 2), within_ms=5000)

    def _shoot(self, source_deg: float, kind: int) -> int:
        """One exposure with the source there; arms and technique are set."""
        self._stand(source_deg)
        if kind == 0:
            self._spin_up()
        answer = self.command(
            "imager", EXPOSE, struct.pack("<BBHi", kind, 0, 0, round(source_deg * 1e6))
        )
        number: int = struct.unpack("<I", answer.body)[0]
        self.wait("imager", lambda status: status["latest_frame"] >= number, within_ms=10_000)
        return number

    def _spin_up(self) -> None:
        self.command("imager", PREPARE, b"\x01")
        self.wait("imager", lambda status: bool(status["flags"] & 32), within_ms=2000)

    def _stand(self, source_deg: float) -> None:
        gantry = (source_deg - 90.0 + 180.0) % 360.0 - 180.0
        gantry = 180.0 if gantry == -180.0 else gantry
        self.command("imager", GANTRY, struct.pack("<i", round(gantry * 1e6)))
        self.wait("imager", lambda status: status["state"] not in (1, 2), within_ms=70_000)

    def scan(
        self,
        projections: int,
        *,
        first_deg: float = -89.0,
        arc_deg: float = 358.0,
        kvp: float = 80,
        mas: float = 0.4,
        ma: float = 100.0,
        binning: int = 4,
        field_mm: float = 130,
    ) -> Iterator[Projection]:
        """A cone-beam scan as docs/simulator_control.md says: gantry, exposure and read-out, projection by projection.

        Source angles are ``first_deg`` + k ``arc_deg`` / ``projections``. Closing the iterator ends the scan; whatever
        refuses an exposure ends it with its reason.

        Raises:
            SimulatorError: fewer than two projections, or an arc that the gantry cannot turn without crossing +-180.
            RefusedError: an interlock; the scan has ended.
        """
        end_deg = first_deg + arc_deg * (projections - 1) / max(projections, 1)
        if projections < 2 or not (-90.0 < first_deg <= end_deg <= 270.0):
            raise SimulatorError(
                f"{projections} projections from {first_deg} to {end_deg:.3f} deg: the source turns from above "
                "-90 to 270 deg, as the gantry never crosses +-180, and a scan has at least two"
            )
        self.command("imager", ARMS, bytes([1, 1]))
        self.wait("imager", lambda status: bool(status["flags"] & 2), within_ms=5000)
        self.technique(kvp, ma, 1000 * mas / ma, binning=binning, field_mm=field_mm)
        for k in range(projections):
            angle = first_deg + k * arc_deg / projections
            source_deg = angle - 360.0 if angle > 180.0 else angle
            number = self._shoot(source_deg, 0)
            counts = self.fetch(number)
            dose = self.status("imager")["dose_area"]
            yield Projection(number, source_deg, counts, dose)

    def fetch(self, frame: int) -> npt.NDArray[np.uint16]:
        """Fetches a frame in blocks, checks its SHA-256, and gives its counts (rows, cols)."""
        info = self.command("imager", FRAME_INFO, struct.pack("<I", frame)).body
        rows, cols, size = struct.unpack_from("<HHI", info, 7)
        octets = b""
        while len(octets) < size:
            count = min(READ_MAX, size - len(octets))
            octets += self.command(
                "imager", FRAME_READ, struct.pack("<IIH", frame, len(octets), count)
            ).body[11:]
        if hashlib.sha256(octets).digest() != info[15:47]:
            raise SimulatorError(f"frame {frame} came over the line with another digest")
        return np.frombuffer(octets, dtype="<u2").reshape(rows, cols)

    def arms(self, out: bool) -> None:
        """Sends both arms out or home, and does not wait."""
        self.command("imager", ARMS, bytes([out, out]))

    def park_arms(self) -> None:
        """Parks both arms and waits for it."""
        self.arms(False)
        self.wait("imager", lambda status: bool(status["flags"] & 1), within_ms=5000)

    def wait(self, name: str, condition: Any, *, within_ms: float) -> dict[str, Any]:
        """Advances until a status of a line fulfils ``condition``; gives that status.

        Raises:
            TimeoutError: not within the time.
        """
        end_us = self.room.now_us + round(within_ms * 1000)
        self._lines[name].status = {}
        while True:
            self.advance_ms(5)
            status = self.status(name)
            if status and condition(status):
                return status
            if self.room.now_us >= end_us:
                raise TimeoutError(f"{name}: not within {within_ms} ms; its last status: {status}")
