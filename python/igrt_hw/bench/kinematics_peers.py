"""Other people's kinematics on our machines, for `igrt bench --peers`; each is checked on one pose before it is timed.

Pinocchio reads our URDF export; OPW, EAIK and IK-Geo get the arm's dimensions; Robotics Toolbox the pedestal's chain.
For a hexapod's forward kinematics from its legs no maintained package was found that does it in real time, so that the
peer is Newton written here against numpy and numba, the strongest public ones we know of, as cleverly as we could.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from igrt_hw.bench.registry import BenchError, Prepared, Sampler, per_call_ns
from igrt_hw.machine import load_machine
from igrt_hw.machine.description import ArmChain, HexapodChain
from igrt_hw.machine.urdf import export_urdf

Floats = npt.NDArray[np.float64]
_Z, _Y = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)


def _agree(name: str, off: float, allowed: float) -> None:
    if not off <= allowed:
        raise BenchError(f"{name} is off by {off:.3g} on the check pose; it solves another problem")


def _batch(work: Callable[[], object], rows: int) -> Sampler:
    def sample() -> float:
        begin = time.perf_counter_ns()
        work()
        return (time.perf_counter_ns() - begin) / rows

    return sample


def pinocchio(machine: str, axes: Floats, *, jacobian: bool) -> Callable[[], Prepared]:
    """Frame placement (or frame Jacobian) of the table top, one call from Python; `axes` mm and degrees."""

    @contextmanager
    def prepare() -> Iterator[Sampler]:
        import pinocchio as pin  # type: ignore[import-not-found,unused-ignore]

        described = load_machine(machine)
        model = pin.buildModelFromXML(export_urdf(described))
        data, top = model.createData(), model.getFrameId("table_top")
        q = np.array(pin.neutral(model))
        for axis, value in zip(described.description.axis, axes, strict=True):
            scale = 0.001 if axis.unit == "mm" else math.pi / 180.0
            q[model.joints[model.getJointId(axis.name)].idx_q] = value * scale
        pin.framesForwardKinematics(model, data, q)
        want = described.couch().forward(tuple(axes)).matrix()
        off = float(np.abs(data.oMf[top].homogeneous[:3, 3] * 1000.0 - want[:3, 3]).max())
        _agree("pinocchio", off, 1e-6)
        world = pin.LOCAL_WORLD_ALIGNED

        def forward() -> object:
            pin.framesForwardKinematics(model, data, q)
            return data.oMf[top]

        def differential() -> object:
            return pin.computeFrameJacobian(model, data, q, top, world)

        work = differential if jacobian else forward
        yield lambda: per_call_ns(work, 2000)

    return prepare


def _arm_of(machine: str) -> ArmChain:
    chain = load_machine(machine).description.chain
    if not isinstance(chain, ArmChain):
        raise BenchError(f"{machine} is no arm")
    return chain


def opw_forward(machine: str, axes: Floats) -> Callable[[], Prepared]:
    """py-opw-kinematics, many joint sets; mounts left out, which is in its favour."""

    @contextmanager
    def prepare() -> Iterator[Sampler]:
        import py_opw_kinematics as opw  # type: ignore[import-not-found,unused-ignore]

        chain = _arm_of(machine)
        a1, a2, b = chain.offsets_mm
        c1, c2, c3, c4 = chain.lengths_mm
        model = opw.KinematicModel(a1=a1, a2=a2, b=b, c1=c1, c2=c2, c3=c3, c4=c4)
        robot = opw.Robot(model, degrees=True)
        yield _batch(lambda: robot.batch_forward(axes), len(axes))

    return prepare


def _screws(chain: ArmChain) -> tuple[Floats, Floats]:
    """Axis directions (6, 3) and offsets between them (7, 3), metres."""
    a1, a2, b = chain.offsets_mm
    c1, c2, c3, c4 = chain.lengths_mm
    directions = np.array([_Z, _Y, _Y, _Z, _Y, _Z])
    none = (0.0, 0.0, 0.0)
    offsets = [none, (a1, b, c1), (0.0, 0.0, c2), (a2, 0.0, c3), none, none, (0.0, 0.0, c4)]
    return directions, np.array(offsets) / 1000.0


def _bare_poses(chain: ArmChain, axes: Floats) -> Floats:
    """Poses of the flange without mounts, metres."""
    from igrt_hw._core import Couch

    couch = Couch.arm(
        [(-360.0, 360.0)] * 6, offsets_mm=chain.offsets_mm, lengths_mm=chain.lengths_mm
    )
    poses = couch.forward_many(axes)
    poses[:, :3, 3] /= 1000.0
    return poses


def _nearest_deg(found: Any, axes: Floats) -> float:
    off = np.degrees(np.asarray(found, dtype=np.float64).reshape(-1, 6)) - axes
    return float(np.abs((off + 180.0) % 360.0 - 180.0).max(axis=1).min())


def eaik_inverse(machine: str, axes: Floats) -> Callable[[], Prepared]:
    """EAIK, every branch of many poses, one thread."""

    @contextmanager
    def prepare() -> Iterator[Sampler]:
        from eaik.IK_HP import HPRobot  # type: ignore[import-not-found,unused-ignore]

        chain = _arm_of(machine)
        robot = HPRobot(*_screws(chain))
        poses = _bare_poses(chain, axes)
        _agree("EAIK", _nearest_deg(robot.IK(poses[0]).Q, axes[0]), 1e-6)
        given = [np.ascontiguousarray(pose) for pose in poses]
        yield _batch(lambda: robot.IK_batched(given, num_worker_threads=1), len(axes))

    return prepare


def ik_geo_inverse(machine: str, axes: Floats) -> Callable[[], Prepared]:
    """IK-Geo, every branch of one pose per call."""

    @contextmanager
    def prepare() -> Iterator[Sampler]:
        import ik_geo  # type: ignore[import-not-found,unused-ignore]

        chain = _arm_of(machine)
        directions, offsets = _screws(chain)
        robot = ik_geo.Robot.spherical_two_parallel(directions.tolist(), offsets.tolist())
        pose = _bare_poses(chain, axes[:1])[0]
        # Its binding reads the rotation by columns.
        rotation, position = pose[:3, :3].T.tolist(), pose[:3, 3].tolist()
        found = robot.get_ik(rotation, position)
        _agree("IK-Geo", _nearest_deg([q for q, *_ in found], axes[0]), 1e-6)
        yield lambda: per_call_ns(lambda: robot.get_ik(rotation, position), 500)

    return prepare


def toolbox_inverse(machine: str, axes: Floats) -> Callable[[], Prepared]:
    """Robotics Toolbox, one solution of the pedestal per call (Levenberg-Marquardt in C).

    Every row of `axes` (n, 6) in turn, each from a start that is up to 100 mm and 0.1 rad off per axis.
    """

    @contextmanager
    def prepare() -> Iterator[Sampler]:
        from roboticstoolbox import ET  # type: ignore[import-not-found,unused-ignore]

        chain = ET.Rz() * ET.tx() * ET.ty() * ET.tz() * ET.Rx() * ET.Ry()
        poses = load_machine(machine).couch().forward_many(axes)
        poses[:, :3, 3] /= 1000.0
        x, y, z, *turns = axes.T
        rotation, pitch, roll = np.radians(turns)
        joints = np.column_stack((rotation, x / 1000.0, y / 1000.0, z / 1000.0, pitch, roll))
        starts = joints + np.random.default_rng(7).uniform(-0.1, 0.1, joints.shape)
        given = list(zip(map(np.ascontiguousarray, poses), starts, strict=True))

        def solve() -> Any:
            for pose, start in given:
                found = chain.ik_LM(pose, q0=start, tol=1e-12, joint_limits=False)
            return found

        _agree("Robotics Toolbox", float(np.abs(chain.fkine(solve()[0]).A - poses[-1]).max()), 1e-5)
        yield _batch(solve, len(given))

    return prepare


# --- hexapod: Newton on six legs, ours, in numpy and numba ------------------------------------------------------------


def _hexapod_of(machine: str) -> tuple[Floats, Floats]:
    chain = load_machine(machine).description.chain
    if not isinstance(chain, HexapodChain):
        raise BenchError(f"{machine} is no hexapod")
    return np.array(chain.base_joints_mm), np.array(chain.platform_joints_mm)


def _rodrigues_many(w: Floats) -> Floats:
    angle = np.linalg.norm(w, axis=1)[:, None, None]
    safe = np.maximum(angle, 1e-300)
    cross = np.zeros((len(w), 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -w[:, 2], w[:, 1], -w[:, 0]
    cross -= np.swapaxes(cross, 1, 2)
    turned: Floats = (
        np.eye(3) + np.sin(angle) / safe * cross + (1.0 - np.cos(angle)) / safe**2 * (cross @ cross)
    )
    return turned


def numpy_legs(machine: str, legs: Floats, steps: int = 4) -> Callable[[], Prepared]:
    """Newton from neutral over all rows at once, a fixed number of steps; `legs` (n, 6) mm."""

    @contextmanager
    def prepare() -> Iterator[Sampler]:
        base, platform = _hexapod_of(machine)

        def solve() -> tuple[Floats, Floats]:
            rotation = np.broadcast_to(np.eye(3), (len(legs), 3, 3))
            position = np.zeros((len(legs), 3))
            for _ in range(steps):
                arms = platform @ np.swapaxes(rotation, 1, 2)
                lines = arms + position[:, None, :] - base
                lengths = np.sqrt((lines**2).sum(axis=2))
                units = lines / lengths[..., None]
                jacobian = np.concatenate([units, np.cross(arms, units)], axis=2)
                step = np.linalg.solve(jacobian, (legs - lengths)[..., None])[..., 0]
                position = position + step[:, :3]
                rotation = _rodrigues_many(step[:, 3:]) @ rotation
            return rotation, position

        rotation, position = solve()
        lines = platform @ np.swapaxes(rotation, 1, 2) + position[:, None, :] - base
        _agree("numpy Newton", float(np.abs(np.sqrt((lines**2).sum(axis=2)) - legs).max()), 1e-6)
        yield _batch(solve, len(legs))

    return prepare


def numba_legs(machine: str, legs: Floats) -> Callable[[], Prepared]:
    """Newton from neutral, compiled by numba, one call from Python; `legs` (6,) mm."""

    @contextmanager
    def prepare() -> Iterator[Sampler]:
        import numba  # type: ignore[import-not-found,import-untyped,unused-ignore]

        base, platform = _hexapod_of(machine)
        solve = numba.njit(fastmath=True)(_newton)
        *_, left = solve(base, platform, legs)
        _agree("numba Newton", float(left), 1e-8)
        yield lambda: per_call_ns(lambda: solve(base, platform, legs), 2000)

    return prepare


def _newton(base: Floats, platform: Floats, legs: Floats) -> tuple[Floats, Floats, float]:
    rotation, position = np.eye(3), np.zeros(3)
    jacobian, right = np.empty((6, 6)), np.empty(6)
    worst = 1e300
    for _ in range(20):
        worst = 0.0
        for leg in range(6):
            arm = rotation @ platform[leg]
            line = arm + position - base[leg]
            length = math.sqrt(line[0] ** 2 + line[1] ** 2 + line[2] ** 2)
            u = line / length
            jacobian[leg, 0], jacobian[leg, 1], jacobian[leg, 2] = u[0], u[1], u[2]
            jacobian[leg, 3] = arm[1] * u[2] - arm[2] * u[1]
            jacobian[leg, 4] = arm[2] * u[0] - arm[0] * u[2]
            jacobian[leg, 5] = arm[0] * u[1] - arm[1] * u[0]
            right[leg] = legs[leg] - length
            worst = max(worst, abs(right[leg]))
        if worst < 1e-9:
            break
        step = np.linalg.solve(jacobian, right)
        position = position + step[:3]
        y = 0.5 * step[3:]
        s = 2.0 / (1.0 + y[0] ** 2 + y[1] ** 2 + y[2] ** 2)
        cross = np.array([[0.0, -y[2], y[1]], [y[2], 0.0, -y[0]], [-y[1], y[0], 0.0]])
        rotation = (np.eye(3) + s * (cross + cross @ cross)) @ rotation
    return rotation, position, worst
