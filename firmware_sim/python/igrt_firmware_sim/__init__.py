"""A simulated treatment couch, imager and hand pendant on serial lines. Not a medical device."""
