"""What `igrt serve` refuses before it opens anything."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from igrt_hw.server.settings import ServeSettings


def settings(**changes: Any) -> ServeSettings:
    given: dict[str, Any] = {
        "couch_port": "c", "imager_port": "i", "pendant_port": "p", "simulator": True,
        "plan_folders": (Path("plan"),), "store": Path("store"),
    }  # fmt: skip
    return ServeSettings(**(given | changes))


# safety: SR-35
def test_the_loopback_is_the_default_and_speaks_plainly() -> None:
    assert settings().host == "127.0.0.1"
    assert settings().scheme == "http"


# safety: SR-35
@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "room3.example"])
def test_passwords_do_not_travel_in_clear(host: str) -> None:
    with pytest.raises(ValidationError, match="tls-certificate"):
        settings(host=host)
    named = settings(host=host, tls_certificate=Path("c.pem"), tls_key=Path("k.pem"))
    assert named.scheme == "https"


# safety: SR-35
def test_demo_users_stay_on_the_loopback_and_off_real_devices() -> None:
    with pytest.raises(ValidationError, match="loopback"):
        settings(
            host="192.168.1.5",
            demo_users=True,
            tls_certificate=Path("c.pem"),
            tls_key=Path("k.pem"),
        )
    with pytest.raises(ValidationError, match="real devices"):
        settings(simulator=False, demo_users=True)


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="both a certificate and a key"):
        settings(tls_certificate=Path("c.pem"))
