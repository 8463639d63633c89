"""What a data set on a disk holds, found once and written down: one row per view of an object."""
