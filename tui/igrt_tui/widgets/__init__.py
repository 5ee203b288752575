"""Widgets: each does one job and draws what the view model gave it."""
