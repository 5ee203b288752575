"""The operator terminal of igrt-hw. Not a medical device."""
