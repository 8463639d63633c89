"""ObjectCutter: cut the object out of a reference photo."""
