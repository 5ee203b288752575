"""A driver such as a third party would write from docs/protocol.md: telemetry and STOP, with pyserial and cobs."""

import struct
import time
from typing import Any

import serial
from cobs import cobs

COUCH_STATUS, STOP, STOP_ACK = 0x10, 0x01, 0x81


def crc32c(octets: bytes) -> int:
    """CRC-32C, bit by bit: slow, short and right."""
    crc = 0xFFFFFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Couch:
    """Hears the couch and can stop it."""

    def __init__(self, port: str, baud: int = 921_600) -> None:
        self._port = serial.serial_for_url(port, baud, timeout=0.1)
        self._rest = b""

    def close(self) -> None:
        """Closes the port."""
        self._port.close()

    def stop(self, nonce: int) -> None:
        """Sends STOP: a base message, so that the dictionary in the prefix is zero."""
        body = struct.pack("<BI", 1, nonce)
        frame = struct.pack("<BBHIHHHBBII", 1, STOP, len(body), 0, 0, 0, 0, 0, 1, 0, 0) + body
        frame += struct.pack("<I", crc32c(b"H" + bytes(8) + frame))
        self._port.write(b"\0" + cobs.encode(frame) + b"\0")

    def hear(self, kind: int, within_s: float = 2.0) -> dict[str, Any]:
        """Waits for a message of a type: its header fields of interest and its body."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            *runs, self._rest = (self._rest + self._port.read(4096)).split(b"\0")
            for run in filter(None, runs):
                try:
                    frame = cobs.decode(run)
                except cobs.DecodeError:
                    continue
                good = len(frame) >= 28 and crc32c(b"D" + bytes(8) + frame[:-4]) == int.from_bytes(
                    frame[-4:], "little"
                )
                if good and frame[1] == kind:
                    return {"epoch": struct.unpack_from("<H", frame, 12)[0], "body": frame[24:-4]}
        raise TimeoutError(f"nothing of type {kind:02x} within {within_s} s")
