"""The safety supervisor: pure. Events and time in, effects out; no clock, line, file, thread or hidden randomness.

What was approved is what moves, it moves only while someone holds the enable, and it can always be stopped.
"""
