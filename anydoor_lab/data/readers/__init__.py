"""Pairs from what lies on a disk, one reader per kind of storage."""
