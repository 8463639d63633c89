"""RegionPicker: mark where in a scene the object goes."""
