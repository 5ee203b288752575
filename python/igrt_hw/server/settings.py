"""What `igrt serve` is told: ports, plan, machine, store, address. Checked before anything is opened."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from igrt_hw.models.base import Frozen

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8421
DEFAULT_MACHINE = "linac_pedestal"
DEMO_PLAN = Path(__file__).parent.parent / "demo" / "thorax"


class ServeSettings(Frozen):
    """Everything the service is started with.

    Attributes:
        couch_port, imager_port, pendant_port: serial devices.
        couch_dialect: what the couch's line speaks: CLP/1, or GCS for a hexapod controller (docs/gcs.md).
        baud: line speed of all three.
        simulator: whether simulated devices are at the far ends; shown on every screen and in the record.
        plan_folders: DICOM folders, one plan each.
        machine: name of a machine of the package, or the path of a machine file.
        store: folder of record and users.
        host, port: where to listen; port 0 takes a free one.
        tls_certificate, tls_key: PEM files; needed for any address but the loopback.
        demo_users: whether the demo users may sign in.
        ready_file: where to write address and process when the service listens.
        imager_calibration: what was measured of this imager (`igrt_hw.guidance.imager_calibration`): flex map, lag,
            flickering pixels. Without it the imager is used as drawn, and every image says so.
        unix_socket: listen at this file instead of an address; only its owner may open it.
        qa_phantoms: patient IDs of phantoms, which are what daily QA positions; `ID=DESCRIPTION` names the
            description (`igrt_hw.guidance.phantom`) by whose balls it is matched, else it is matched by its CT.
    """

    couch_port: str
    imager_port: str
    pendant_port: str
    couch_dialect: Literal["clp1", "gcs"] = "clp1"
    baud: int = Field(default=921_600, ge=9600, le=12_000_000)
    simulator: bool
    plan_folders: tuple[Path, ...] = Field(min_length=1)
    machine: str = DEFAULT_MACHINE
    store: Path
    host: str = DEFAULT_HOST
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    demo_users: bool = False
    ready_file: Path | None = None
    imager_calibration: Path | None = None
    unix_socket: Path | None = None
    qa_phantoms: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _phantoms_have_names(self) -> ServeSettings:
        for text in self.qa_phantoms:
            patient_id, equals, name = text.partition("=")
            if not patient_id.strip() or (equals and not name.strip()):
                raise ValueError(f"--qa-phantom is ID or ID=DESCRIPTION, not {text!r}")
        return self

    @model_validator(mode="after")
    def _refuse_what_is_not_safe(self) -> ServeSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("TLS needs both a certificate and a key")
        if self.unix_socket is not None and (
            self.tls_certificate is not None or self.host != DEFAULT_HOST
        ):
            raise ValueError(
                "--unix-socket listens at a file and at no address: give neither --host nor a certificate with it"
            )
        if not is_loopback(self.host):
            if self.tls_certificate is None:
                raise ValueError(
                    f"{self.host} is not the loopback: give --tls-certificate and --tls-key, "
                    "passwords do not travel in clear"
                )
            if self.demo_users:
                raise ValueError(
                    f"--demo-users have public passwords and are refused on {self.host}; "
                    "they are for the loopback"
                )
        if self.demo_users and not self.simulator:
            raise ValueError(
                "--demo-users are refused on real devices; add people with `igrt user add`"
            )
        return self

    @property
    def scheme(self) -> str:
        """`https` with a certificate, else `http`."""
        return "https" if self.tls_certificate else "http"


class Ready(Frozen):
    """What the ready file says."""

    url: str
    pid: int
    simulator: bool


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
