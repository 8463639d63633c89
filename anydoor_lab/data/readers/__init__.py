"""Pairs from what lies on a disk, one reader per kind of storage."""

from __future__ import annotations

KINDS = (
    *("palette_video", "ytvis", "burst", "panoptic", "coco", "sa1b", "side_by_side"),
    *("tryon", "tryon_poses", "multiview", "subjects", "scenes"),
)
"""The readers whose views are indexed (`data/index/views.py` says what each has)."""
