"""Looks inside the method: arrays out, no drawing (the drawing is in `report`)."""
