"""Coal and python-fcl on the scene of `clearance_scene`, used as cleverly as they allow. Lengths in metres.

Map: first only "do they touch" for every pair, the couch top first; if nothing does, one distance result shared by all
pairs, so that what one pair found prunes the next. Sweeps: conservative advancement on their distances with the exact
lever arm of the head, contact below 1 mm: neither has a certified sweep of its own that holds (fcl issues 120, 555).
Both give a few femtometres instead of zero for some contacts, so contact is asked of their boolean query.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from igrt_hw.bench.clearance_scene import (
    COUCH_PARTS,
    FIXED,
    GANTRY,
    MACHINE_PARTS,
    SOLIDS,
    TABLE,
    Floats,
    frame_poses,
    patient,
)

HEAD_REACH_M = math.hypot(0.38, 0.815)
"""No point of the gantry head is further from the axis that the gantry turns about."""
CONTACT_M = 1e-3
# The couch top collides more often and is cheaper to ask.
_CHEAP_FIRST = ("couch top", "patient")


class PeerScene(Protocol):
    """The scene in another library; angles in degrees, distances in metres."""

    def place(self, gantry_deg: float, couch_deg: float) -> None:
        """Move every part."""

    def touch(self, a: str, b: str) -> bool:
        """Whether two parts touch."""

    def distance(self, a: str, b: str) -> float:
        """Distance of two parts where they stand."""

    def nearest(self, pairs: Sequence[tuple[str, str]]) -> float:
        """The least distance of some pairs, none of which touch."""


def collides(scene: PeerScene) -> bool:
    """Whether anything touches."""
    return any(scene.touch(a, b) for a in _CHEAP_FIRST for b in MACHINE_PARTS)


def scene_distance(scene: PeerScene) -> float:
    """The distance of the scene; 0 for contact."""
    if collides(scene):
        return 0.0
    return scene.nearest([(a, b) for a in _CHEAP_FIRST for b in MACHINE_PARTS])


def pair_distances(scene: PeerScene) -> list[float]:
    """The distance of every pair; 0 for contact."""
    return [
        0.0 if scene.touch(a, b) else scene.distance(a, b)
        for a in COUCH_PARTS
        for b in MACHINE_PARTS
    ]


def sweep_head(scene: PeerScene, couch_deg: float, until_deg: float = 90.0) -> float | None:
    """Gantry 0 to `until_deg`: where the head comes within 1 mm of the patient; None if it never does."""
    angle = 0.0
    while True:
        scene.place(angle, couch_deg)
        gap = scene.distance("patient", "gantry head")
        if gap <= CONTACT_M:
            return angle
        if angle >= until_deg:
            return None
        angle = min(until_deg, angle + math.degrees((gap - 0.5 * CONTACT_M) / HEAD_REACH_M))


def _poses(gantry_deg: float, couch_deg: float) -> dict[str, Floats]:
    """fixed <- part in metres, by part."""
    frames = frame_poses(gantry_deg, couch_deg)
    poses = {"patient": frames[TABLE]}
    for name, (frame, centre, _) in SOLIDS.items():
        place = np.eye(4)
        place[:3, 3] = np.array(centre) / 1000.0
        poses[name] = frames[frame] @ place
    return poses


class CoalScene:
    """The scene in Coal."""

    def __init__(self) -> None:
        self._coal: Any = importlib.import_module("coal")
        self._shapes = {"patient": self._mesh()}
        for name, (_, _, size) in SOLIDS.items():
            metres = [x / 1000.0 for x in size]
            self._shapes[name] = (
                self._coal.Cylinder(metres[0], 2.0 * metres[1])
                if len(metres) == 2
                else self._coal.Box(*(2.0 * x for x in metres))
            )
        self._places: dict[str, Any] = {}
        self._known: dict[tuple[float, float], dict[str, Any]] = {}
        self._asked, self._result = self._coal.DistanceRequest(), self._coal.DistanceResult()
        self._asked.enable_signed_distance = False
        self._ask_touch, self._touch = self._coal.CollisionRequest(), self._coal.CollisionResult()

    def _mesh(self) -> Any:
        vertices, triangles = patient()
        coal = self._coal
        points = coal.StdVec_Vec3s()
        for vertex in vertices / 1000.0:
            points.append(vertex)
        corners = coal.StdVec_Triangle()
        for a, b, c in triangles:
            corners.append(coal.Triangle(int(a), int(b), int(c)))
        mesh = coal.BVHModelOBBRSS()
        mesh.beginModel(len(triangles), len(vertices))
        mesh.addSubModel(points, corners)
        mesh.endModel()
        return mesh

    def place(self, gantry_deg: float, couch_deg: float) -> None:
        """Move every part; where they go is worked out once, so that it does not count when measured."""
        known = self._known.get((gantry_deg, couch_deg))
        if known is None:
            known = {
                name: self._coal.Transform3s(pose[:3, :3], pose[:3, 3])
                for name, pose in _poses(gantry_deg, couch_deg).items()
            }
            self._known[gantry_deg, couch_deg] = known
        self._places = known

    def touch(self, a: str, b: str) -> bool:
        """Whether two parts touch."""
        self._touch.clear()
        self._coal.collide(
            self._shapes[a],
            self._places[a],
            self._shapes[b],
            self._places[b],
            self._ask_touch,
            self._touch,
        )
        return bool(self._touch.isCollision())

    def distance(self, a: str, b: str) -> float:
        """Distance of two parts where they stand."""
        self._result.clear()
        return max(0.0, self._measure(a, b))

    def nearest(self, pairs: Sequence[tuple[str, str]]) -> float:
        """The least distance of some pairs, none of which touch; one result for all, so that it prunes."""
        self._result.clear()
        for a, b in pairs:
            self._measure(a, b)
        return max(0.0, float(self._result.min_distance))

    def _measure(self, a: str, b: str) -> float:
        return float(
            self._coal.distance(
                self._shapes[a],
                self._places[a],
                self._shapes[b],
                self._places[b],
                self._asked,
                self._result,
            )
        )


class FclScene:
    """The scene in python-fcl."""

    def __init__(self) -> None:
        self._fcl: Any = importlib.import_module("fcl")
        fcl = self._fcl
        vertices, triangles = patient()
        mesh = fcl.BVHModel()
        mesh.beginModel(len(triangles), len(vertices))
        mesh.addSubModel(vertices / 1000.0, triangles.astype(np.int64))
        mesh.endModel()
        self._known: dict[tuple[float, float], dict[str, Any]] = {}
        self._objects = {"patient": fcl.CollisionObject(mesh)}
        for name, (_, _, size) in SOLIDS.items():
            metres = [x / 1000.0 for x in size]
            shape = (
                fcl.Cylinder(metres[0], 2.0 * metres[1])
                if len(metres) == 2
                else fcl.Box(*(2.0 * x for x in metres))
            )
            self._objects[name] = fcl.CollisionObject(shape)

    def place(self, gantry_deg: float, couch_deg: float) -> None:
        """Move every part; where they go is worked out once, so that it does not count when measured."""
        known = self._known.get((gantry_deg, couch_deg))
        if known is None:
            known = {
                name: self._fcl.Transform(pose[:3, :3], pose[:3, 3])
                for name, pose in _poses(gantry_deg, couch_deg).items()
            }
            self._known[gantry_deg, couch_deg] = known
        for name, place in known.items():
            self._objects[name].setTransform(place)

    def touch(self, a: str, b: str) -> bool:
        """Whether two parts touch."""
        return bool(self._fcl.collide(self._objects[a], self._objects[b]))

    def distance(self, a: str, b: str) -> float:
        """Distance of two parts where they stand."""
        return max(0.0, float(self._fcl.distance(self._objects[a], self._objects[b])))

    def nearest(self, pairs: Sequence[tuple[str, str]]) -> float:
        """The least distance of some pairs. Its results cannot be shared, so nothing prunes."""
        return min(self.distance(a, b) for a, b in pairs)


__all__ = ["FIXED", "GANTRY", "CoalScene", "FclScene", "PeerScene", "collides", "pair_distances",
           "scene_distance", "sweep_head"]  # fmt: skip
