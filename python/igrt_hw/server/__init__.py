"""The supervisor as a local service: users, roles, drivers and clock around the pure core."""
