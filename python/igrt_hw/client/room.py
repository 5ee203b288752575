"""Pictures and maps of the room, as they come from the service."""

from __future__ import annotations

import base64
import binascii

import numpy as np
import numpy.typing as npt

from igrt_hw.client.errors import UnexpectedAnswerError
from igrt_hw.models.room import RoomPicture


def part_numbers(picture: RoomPicture) -> npt.NDArray[np.uint8]:
    """Number of the part in each pixel plus one, 0 for nothing: uint8 (height, width), row 0 at the top.

    Raises:
        UnexpectedAnswerError: the pixels do not fill the picture.
    """
    return _pixels(picture.part_of_pixel, picture)


def brightness(picture: RoomPicture) -> npt.NDArray[np.uint8]:
    """Brightness of each pixel: uint8 (height, width); raises as `part_numbers`."""
    return _pixels(picture.shade, picture)


def _pixels(packed: str, picture: RoomPicture) -> npt.NDArray[np.uint8]:
    try:
        octets = base64.b64decode(packed, validate=True)
    except binascii.Error as error:
        raise UnexpectedAnswerError("a picture of the room is not base64") from error
    if len(octets) != picture.width * picture.height:
        raise UnexpectedAnswerError(
            f"a picture of the room of {picture.width} x {picture.height} pixels has {len(octets)} octets"
        )
    return np.frombuffer(octets, dtype=np.uint8).reshape(picture.height, picture.width)
