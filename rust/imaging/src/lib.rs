//! Projection geometry, digitally reconstructed radiographs and registration. No Python, no I/O.
