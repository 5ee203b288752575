"""Image-guided patient positioning with real hardware in the loop. Not a medical device."""
