"""Small trees in the on-disk formats in which data sets are released, for what reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from released import stills, videos, views

TREES: dict[str, Callable[[Path], None]] = {
    "youtube_vos": videos.youtube_vos,
    "youtube_vis": videos.youtube_vis,
    "uvo": videos.uvo,
    "mose": videos.mose,
    "vipseg": videos.vipseg,
    "burst": videos.burst,
    "mvimgnet": views.mvimgnet,
    "viton_hd": views.viton_hd,
    "fashion_tryon": views.fashion_tryon,
    "msra": stills.msra,
    "duts": stills.duts,
    "hflickr": stills.hflickr,
    "lvis": stills.lvis,
    "sam": stills.sam,
    "dreambooth": views.dreambooth,
    "cocoee": views.cocoee,
    "coco_val2017": stills.coco_val2017,
    "coco_panoptic": stills.coco_panoptic,
    "viton_hd_test": views.viton_hd,
    "davis": videos.davis,
}
"""What writes a set's tree, by the set's name in conf/data; no pixel of a real set is in them."""
