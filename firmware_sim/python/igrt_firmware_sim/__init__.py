"""A simulated treatment couch, imager and hand pendant on serial lines. Not a medical device.

Three ways to use the same firmware, none of which needs anything of the controller:

* ``igrt-sim serve``: the room on ptys in real time, with a control socket beside (`docs/simulator_control.md`);
* :class:`igrt_firmware_sim.bench.VirtualRoom`: the room in virtual time inside a test, thousands of times
  faster than real;
* ``igrt-sim run SCENARIO``: a timeline of hands and faults with expectations, and a verdict.
"""

from igrt_firmware_sim._firmware import SimulatorError, build_hash

__all__ = ["SimulatorError", "__version__", "build_hash"]

__version__ = "0.1.0"
