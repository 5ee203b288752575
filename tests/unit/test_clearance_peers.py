"""Against Coal and python-fcl: random scenes, touching ones and deep ones; sweeps against dense sampling with Coal."""

import numpy as np
import pytest

from igrt_hw._core import ClearanceRoom
from igrt_hw.bench.clearance_peers import CoalScene, FclScene, PeerScene
from igrt_hw.bench.clearance_scene import (
    COUCH_PARTS,
    MACHINE_PARTS,
    frame_poses,
    room,
    sweep_motions,
)
from igrt_hw.machine.path import fixed_joint, slide_joint, turn_joint

PEERS = [("coal", CoalScene, 2e-3), ("fcl", FclScene, 0.3)]
"""Module, scene, and how far its distances may lie from ours in mm: python-fcl stops its GJK early."""


def _scene(module: str, make: type) -> PeerScene:
    pytest.importorskip(module, reason="needs the extra 'peers'")
    return make()


@pytest.mark.parametrize(("module", "make", "tolerance_mm"), PEERS)
def test_distances_agree_on_random_cells_of_the_whole_scene(
    module: str, make: type, tolerance_mm: float
) -> None:
    scene, core = _scene(module, make), room()
    random = np.random.default_rng(11)
    touching = 0
    for _ in range(40):
        gantry, couch = random.uniform(0.0, 360.0), random.uniform(-90.0, 90.0)
        scene.place(gantry, couch)
        bounds, _ = core.separations(frame_poses(gantry, couch), exact=True)
        pairs = [(a, b) for a in COUCH_PARTS for b in MACHINE_PARTS]
        for (lower, upper), (a, b) in zip(bounds, pairs, strict=True):
            if scene.touch(a, b):
                touching += 1
                assert lower <= tolerance_mm
            else:
                apart = 1000.0 * scene.distance(a, b)
                assert lower - tolerance_mm <= apart <= upper + tolerance_mm
    assert touching > 20


def _blob(random: np.random.Generator, size_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """A bumpy, non-convex closed surface about the origin."""
    rings, sides = 14, 18
    polar = np.pi * (np.arange(rings) + 1.0)[:, None] / (rings + 1)
    turn = 2.0 * np.pi * np.arange(sides)[None] / sides
    bumps = 1.0 + 0.35 * np.sin(3.0 * turn + random.uniform(0, 6)) * np.sin(polar) ** 2
    radius = size_mm * bumps
    points = np.stack(
        [radius * np.sin(polar) * np.cos(turn), radius * np.sin(polar) * np.sin(turn),
         size_mm * np.cos(polar) * np.ones_like(turn)], axis=-1
    ).reshape(-1, 3)  # fmt: skip
    vertices = np.concatenate([[[0.0, 0.0, size_mm], [0.0, 0.0, -size_mm]], points])
    triangles = []
    for s in range(sides):
        after = (s + 1) % sides
        triangles.append((0, 2 + s, 2 + after))
        last = 2 + (rings - 1) * sides
        triangles.append((1, last + after, last + s))
        for r in range(rings - 1):
            a, b = 2 + r * sides + s, 2 + r * sides + after
            triangles += [(a, a + sides, b), (b, a + sides, b + sides)]
    return vertices, np.array(triangles, dtype=np.uint32)


def _pose(random: np.random.Generator, distance_mm: float) -> np.ndarray:
    q = random.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    way = random.normal(size=3)
    pose[:3, 3] = distance_mm * way / np.linalg.norm(way)
    return pose


def test_random_shapes_apart_touching_and_deep_agree_with_coal() -> None:
    coal = pytest.importorskip("coal", reason="needs the extra 'peers'")
    random = np.random.default_rng(12)
    met = {"apart": 0, "touching": 0, "deep": 0}
    for number in range(120):
        vertices, triangles = _blob(random, random.uniform(60.0, 250.0))
        mesh = coal.BVHModelOBBRSS()
        points, corners = coal.StdVec_Vec3s(), coal.StdVec_Triangle()
        for vertex in vertices / 1000.0:
            points.append(vertex)
        for a, b, c in triangles:
            corners.append(coal.Triangle(int(a), int(b), int(c)))
        mesh.beginModel(len(triangles), len(vertices))
        mesh.addSubModel(points, corners)
        mesh.endModel()
        size = random.uniform(20.0, 200.0, 3)
        kind, shape, other = (
            ("box", tuple(size), coal.Box(*(2e-3 * size))),
            ("cylinder", (size[0], size[1]), coal.Cylinder(1e-3 * size[0], 2e-3 * size[1])),
            ("capsule", (size[0], size[1]), coal.Capsule(1e-3 * size[0], 2e-3 * size[1])),
        )[number % 3]
        core = ClearanceRoom(
            2,
            [
                ("mesh", 0, np.eye(4), "mesh", (vertices, triangles)),
                ("solid", 1, np.eye(4), kind, shape),
            ],
            [(0, 1)],
        )
        pose = _pose(random, random.uniform(0.0, 600.0))
        if number % 4 == 0:  # Slid along its way until it just touches.
            for _ in range(40):
                gap = core.separations(np.stack([np.eye(4), pose]), exact=True)[0][0, 0]
                pose[:3, 3] -= gap * pose[:3, 3] / max(np.linalg.norm(pose[:3, 3]), 1e-9)
        bounds, _ = core.separations(np.stack([np.eye(4), pose]), exact=True)
        lower, upper = bounds[0]
        here, there = (
            coal.Transform3s.Identity(),
            coal.Transform3s(pose[:3, :3], 1e-3 * pose[:3, 3]),
        )
        found = coal.CollisionResult()
        coal.collide(mesh, here, other, there, coal.CollisionRequest(), found)
        if abs(lower) < 1e-3:
            met["touching"] += 1
            assert upper < 2e-3
            continue
        assert found.isCollision() == (upper <= 0.0) or _engulfed(lower, upper)
        if upper > 0.0:
            met["apart"] += 1
            asked = coal.DistanceRequest()
            asked.enable_signed_distance = False
            apart = 1e3 * coal.distance(mesh, here, other, there, asked, coal.DistanceResult())
            assert apart == pytest.approx(0.5 * (lower + upper), abs=5e-3)
        else:
            met["deep"] += lower < -20.0
    assert min(met.values()) >= 10


def _engulfed(lower: float, upper: float) -> bool:
    """A shape wholly inside the mesh touches none of its triangles: Coal sees a shell, the core a solid."""
    return upper < 0.0 and lower < -1.0


def test_sweeps_agree_with_dense_sampling_by_coal() -> None:
    scene = _scene("coal", CoalScene)
    core = room(("patient",), ("gantry head",))
    for couch in (0.0, 20.0, 45.0, 60.0, 80.0, -60.0):
        lower, _, contact, _, _ = core.sweep(sweep_motions(couch), stations=1, tolerance_mm=0.5)
        first = None
        nearest = np.inf
        for step in range(451):
            scene.place(0.2 * step, couch)
            if scene.touch("patient", "gantry head"):
                first = 0.2 * step
                break
            nearest = min(nearest, 1000.0 * scene.distance("patient", "gantry head"))
        assert (contact is None) == (first is None)
        if contact is not None and first is not None:
            # Between the last sample that is clear and the first that is not.
            assert first - 0.2 - 1e-6 <= 90.0 * contact[0] <= first + 1e-6
        else:
            assert lower <= nearest <= lower + 0.5 + 4.0


def test_random_sweeps_never_miss_a_contact_that_coal_samples() -> None:
    coal = pytest.importorskip("coal", reason="needs the extra 'peers'")
    random = np.random.default_rng(13)
    half = np.array([150.0, 90.0, 60.0])
    core = ClearanceRoom(
        2,
        [
            ("box", 0, np.eye(4), "box", tuple(half)),
            ("rod", 1, np.eye(4), "capsule", (25.0, 120.0)),
        ],
        [(0, 1)],
    )
    box, rod = coal.Box(*(2e-3 * half)), coal.Capsule(0.025, 0.24)
    contacts = 0
    for _ in range(60):
        start, end = random.uniform(-400.0, 400.0, (2, 3))
        axis = random.normal(size=3)
        axis /= np.linalg.norm(axis)
        angles = random.uniform(-180.0, 180.0, 2)
        motion = np.concatenate([slide_joint(start, end), turn_joint(tuple(axis), *angles)])
        lower, _, contact, _, _ = core.sweep(
            [fixed_joint(np.eye(4)), motion], stations=1, tolerance_mm=0.5
        )
        for s in np.linspace(0.0, 1.0, 120):
            pose = ClearanceRoom.poses_at([motion], float(s))[0]
            found = coal.CollisionResult()
            place = coal.Transform3s(pose[:3, :3], 1e-3 * pose[:3, 3])
            coal.collide(
                box, coal.Transform3s.Identity(), rod, place, coal.CollisionRequest(), found
            )
            if found.isCollision():
                contacts += 1
                assert contact is not None
                assert lower == 0.0
                assert contact[0] <= s + 1e-9
                break
    assert contacts > 10
