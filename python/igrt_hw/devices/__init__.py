"""Drivers: couch, imager, pendant, beam gate. One protocol class each, one driver per dialect."""
