"""Teleporter: cutter, picker and panel around one pipeline, and its recipes."""
