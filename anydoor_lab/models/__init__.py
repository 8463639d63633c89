"""The networks of Figure 2."""
