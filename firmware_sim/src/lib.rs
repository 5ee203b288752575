//! Firmware of a simulated couch, imager and hand pendant. No I/O, no clock: bytes and time in, bytes out.
