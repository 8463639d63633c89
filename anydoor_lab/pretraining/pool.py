"""Frames of the procedural world: the two pictures of each identity's pair, from a pool."""

from __future__ import annotations

from pathlib import Path

from anydoor_lab.data.pool import PairPool
from anydoor_lab.data.world import World
from anydoor_lab.pretraining.frames import Frame


class FramePool(PairPool):
    """Two frames of each of `entries` identities of a world.

    Args:
        world: where the identities come from; identity i of the pool is i of the world.
        entries: how many identities.
        seed: decides poses and backgrounds.
        folder: the file is kept here under a name that says what is in it.
    """

    def __init__(self, world: World, entries: int, seed: int, folder: Path) -> None:
        if entries > len(world):
            raise ValueError(f"{entries} identities asked of a world of {len(world)}; ask for less")
        kind = f"v{world.VERSION}_{world.split}_{world.size_px}px"
        super().__init__(
            world, entries, folder / f"frames_{kind}_{entries}x2_seed{seed}.pool", seed
        )
        self.world = world

    def frames(self, entry: int) -> tuple[Frame, Frame]:
        """The two frames of identity `entry`: pictures (S, S, 3) uint8, masks (S, S) bool.

        Raises:
            RuntimeError: the pool was not filled yet.
        """
        pair = self.kept(entry)
        return (pair.reference, pair.reference_mask), (pair.scene, pair.scene_mask)
