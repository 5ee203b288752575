"""The data that crosses doors: frozen models, millimetres and degrees, units in the names."""
