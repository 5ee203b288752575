"""What a couch and a room are: validated machine files (TOML and meshes) turned into core objects."""

from igrt_hw.machine.catalogue import (
    Machine,
    MachineError,
    load_machine,
    machine_file,
    machine_names,
    parse_machine,
)
from igrt_hw.machine.description import (
    Axis,
    CorrectionMove,
    LinearAxis,
    MachineDescription,
    RotaryAxis,
)

__all__ = [
    "Axis",
    "CorrectionMove",
    "LinearAxis",
    "Machine",
    "MachineDescription",
    "MachineError",
    "RotaryAxis",
    "load_machine",
    "machine_file",
    "machine_names",
    "parse_machine",
]
