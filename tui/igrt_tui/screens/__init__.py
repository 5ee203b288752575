"""Screens: each shows one thing and asks for acts; what they show is worked out in `igrt_tui.view_model`."""
