"""Whole treatment sessions in virtual time, with faults: supervisor, drivers and simulated firmware together."""
