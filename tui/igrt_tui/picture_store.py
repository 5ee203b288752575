"""The images and DRRs that this terminal has fetched; no more than the last few."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from igrt_hw.client import KvImage
from igrt_hw.geometry import Correction
from igrt_hw.models.landmarks import Landmarks
from igrt_hw.models.status import ImageView, SupervisorStatus
from igrt_tui.picture import Crop, Grey, cropped, fitted
from igrt_tui.supervisor import Supervisor

IMAGES_MAX = 8
PIXELS_MAX = 384  # twice what half blocks can show in a terminal of 200 columns

DrrKey = tuple[str, bool, str]
LandmarksKey = tuple[str, Correction | None]


@dataclass(frozen=True, slots=True)
class NudgedDrr:
    """A DRR with the correction it was made for, and its likeness to the image (-1 to 1)."""

    correction: Correction
    image: KvImage
    likeness: float | None


def drr_key(image_uid: str, registered: bool, status: SupervisorStatus) -> DrrKey:
    """Return under which key a DRR is kept: a new registration makes a new registered DRR."""
    fit = repr(status.registration.correction) if registered and status.registration else ""
    return (image_uid, registered, fit)


def latest_pair(status: SupervisorStatus) -> tuple[ImageView, ...]:
    """Return the newest images: the verification pair if there is one, else the setup pair."""
    for purpose in ("verification", "setup"):
        images = tuple(image for image in status.images if image.purpose == purpose)
        if images:
            return images[-2:]
    return ()


@dataclass
class PictureStore:
    """Fetched pictures by identifier, and what is on its way."""

    images: dict[str, KvImage] = field(default_factory=dict)
    drrs: dict[DrrKey, KvImage] = field(default_factory=dict)
    pending: set[object] = field(default_factory=set)
    failed: set[object] = field(default_factory=set)
    nudged: dict[str, NudgedDrr] = field(default_factory=dict)
    nudging: set[str] = field(default_factory=set)
    landmarks: dict[LandmarksKey, Landmarks] = field(default_factory=dict)
    _small: dict[tuple[int, tuple[int, int], Crop], tuple[KvImage, Grey]] = field(
        default_factory=dict
    )

    def small(self, image: KvImage, size: tuple[int, int], crop: Crop) -> Grey:
        """Return what is shown of the image in rows and columns, kept so that a redraw costs nothing."""
        key = (id(image), size, crop)
        found = self._small.get(key)
        if found is None or found[0] is not image:
            if len(self._small) >= 2 * IMAGES_MAX:
                self._small.clear()
            found = (image, cropped(image.pixels, size, crop))
            self._small[key] = found
        return found[1]

    def wants_nudged(self, image_uid: str, correction: Correction) -> bool:
        """Mark the DRR of a nudge as on its way; False if it is here, or another of this image is on its way."""
        known = self.nudged.get(image_uid)
        if image_uid in self.nudging or (known is not None and known.correction == correction):
            return False
        self.nudging.add(image_uid)
        return True

    async def fetch_nudged(
        self, supervisor: Supervisor, image_uid: str, correction: Correction
    ) -> None:
        """Fetch the DRR of a nudge that `wants_nudged` has marked."""
        try:
            image, like = await supervisor.nudged_drr(image_uid, correction, side_max=PIXELS_MAX)
            self.nudged[image_uid] = NudgedDrr(correction, image, like)
            while len(self.nudged) > IMAGES_MAX:
                self.nudged.pop(next(iter(self.nudged)))
        finally:
            self.nudging.discard(image_uid)

    async def fetch_landmarks(self, supervisor: Supervisor, key: LandmarksKey) -> None:
        """Fetch where points of the plan are, for a key that `wants` has marked."""
        try:
            self.landmarks[key] = await supervisor.landmarks(*key)
            while len(self.landmarks) > 4 * IMAGES_MAX:
                self.landmarks.pop(next(iter(self.landmarks)))
        except Exception:
            self.failed.add(key)
            raise
        finally:
            self.pending.discard(key)

    def wants(self, key: object) -> bool:
        """Mark a picture as on its way; False if it is, or if it failed before."""
        if key in self.pending or key in self.failed:
            return False
        self.pending.add(key)
        return True

    async def fetch_image(self, supervisor: Supervisor, image_uid: str) -> None:
        """Fetch an image that `wants` has marked."""
        try:
            self.images[image_uid] = await _reduced(await supervisor.image(image_uid))
            _drop_oldest(self.images)
        except Exception:
            self.failed.add(image_uid)
            raise
        finally:
            self.pending.discard(image_uid)

    async def fetch_drr(self, supervisor: Supervisor, key: DrrKey) -> None:
        """Fetch a DRR that `wants` has marked."""
        try:
            self.drrs[key] = await _reduced(await supervisor.drr(key[0], registered=key[1]))
            _drop_oldest(self.drrs)
        except Exception:
            self.failed.add(key)
            raise
        finally:
            self.pending.discard(key)


async def _reduced(image: KvImage) -> KvImage:
    """Bring an image near the size of a terminal, beside the event loop: no key waits for a megapixel."""
    pixels = await asyncio.to_thread(fitted, image.pixels, PIXELS_MAX, PIXELS_MAX)
    return replace(image, pixels=pixels.astype(np.uint16))


def _drop_oldest(pictures: dict[Any, KvImage]) -> None:
    while len(pictures) > IMAGES_MAX:
        pictures.pop(next(iter(pictures)))
