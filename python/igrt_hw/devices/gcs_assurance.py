"""What a couch on the General Command Set cannot promise, in the words that a person is shown."""

from __future__ import annotations

from typing import Final

ASSURANCE: Final = (
    "no lease: if this program dies, only the pendant's enable in the supply of the drives stops the couch",
    "no plan digest: the controller keeps one target, which is read back only after it was told to go there",
    "no STOP epoch and no session: a command that was sent cannot be barred afterwards, only stopped",
    "no straight line: the struts move together and the platform bows out between start and target",
    "no second position channel: arrival is proved by the controller's own encoders and by images",
    "no wires in its status: arms and brakes are not reported; brakes are taken as on after servo off",
    "no limits digest, no beam gate: travel ranges are compared, the beam is held",
)
UNREPORTED: Final = ("second channel", "panel arms")
