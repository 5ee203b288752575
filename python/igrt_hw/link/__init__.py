"""The serial line: CLP/1 frames, messages and sessions without I/O, and transports at the edge."""
