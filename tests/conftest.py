"""What several tests share: small random networks and a pipeline of them, made once a session."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers of pytest are the parallelism

if TYPE_CHECKING:
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that share what their module prepares to one worker: it is prepared once."""
    for item in items:
        if item.get_closest_marker("xdist_group") or not isinstance(item, pytest.Function):
            continue
        prepared = item._fixtureinfo.name2fixturedefs.values()
        if any(found[-1].scope == "module" for found in prepared):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))


@pytest.fixture(autouse=True)
def ctrl_c_as_in_a_terminal() -> None:
    """Begin each test, and the processes it starts, with Ctrl-C neither ignored nor held back, as
    what ran before in this process may have left it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small random networks, laid out as the embedded and the large ones."""
    from networks import save_networks

    return save_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="session")
def pipeline(networks: Path) -> AnyDoorPipeline:
    """A small random pipeline whose detail maps are not zero; not to be changed."""
    from small import move_zero_convolutions, small_pipeline

    pipeline = small_pipeline(networks)
    move_zero_convolutions(pipeline.detail_extractor)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def cutouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six RGBA cut-outs of drawn objects, of several sizes."""
    import numpy as np

    from anydoor_lab.data.world import World
    from anydoor_lab.structures.images import write_image

    folder = tmp_path_factory.mktemp("cutouts")
    for index in range(6):
        image, mask = World(size_px=80 + 30 * index).clean_view(index)
        write_image(folder / f"object_{index}.png", np.dstack([image, mask * np.uint8(255)]))
    return folder
