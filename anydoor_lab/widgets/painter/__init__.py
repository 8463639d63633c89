"""Painter: a picture one draws a mask on."""
