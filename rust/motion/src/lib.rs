//! Poses, IEC 61217 frames, couch kinematics and clearance. No Python, no I/O.
