"""Image-guided patient positioning with real hardware in the loop. Not a medical device."""

__version__ = "0.1.0"
