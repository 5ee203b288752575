"""The demonstration: simulator, supervisor and terminal as three processes, and a scripted operator."""
