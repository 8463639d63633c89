"""From files to pairs: one reader per kind of data."""
