"""Mixtures of sets: who is drawn how often, in an order that follows from (seed, index) alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inside
from anydoor_lab.conditioning.conditioner import Conditioner
from anydoor_lab.config.assemble import make_source
from anydoor_lab.config.compose import compose_config
from anydoor_lab.data.mixture import BLOCK, Mixture
from anydoor_lab.data.source import Counts
from anydoor_lab.data.world import World
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.training.samples import PairStream
from released import TREES, videos, views
from small import small_objective
from test_index import indexed

WORLD = World(size_px=32)


class Counted:
    """`length` entries whose pairs say which they are."""

    def __init__(self, length: int, bad: tuple[int, ...] = ()) -> None:
        self.length, self.bad, self.note = length, bad, ""
        self.counts = Counts(length, Counter({"empty mask": 1}))

    def __len__(self) -> int:
        return self.length

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        if index in self.bad:
            raise UnusablePair("unreadable picture")
        shown = WORLD.pair(0, rng_for(0, 0, "pair"))
        return Pair(shown.reference, shown.reference_mask, shown.scene, shown.scene_mask,
                    origin=str(index))  # fmt: skip


def drawn(mixture: Mixture, samples: range, seed: int = 0) -> list[str]:
    """The origin of each sample."""
    stream = PairStream(mixture, Conditioner(resolution=32, id_size=32), seed)
    return [stream.pair(index).origin for index in samples]


def entries(mixture: Mixture, samples: range, seed: int = 0) -> list[int]:
    return [mixture.entry(seed, sample) for sample in samples]


def origin(mixture: Mixture, entry: int) -> str:
    return mixture.pair(entry, rng_for(0, 0, "pair")).origin


def test_every_block_of_samples_has_the_sets_shares_to_one_sample() -> None:
    mixture = Mixture({"a": Counted(7), "b": Counted(50), "c": Counted(3)},
                      {"a": 10.8, "b": 65.85, "c": 23.35})  # fmt: skip
    names = {entry: origin(mixture, entry)[0] for entry in range(60)}
    for block in range(2):
        chosen = entries(mixture, range(block * BLOCK, (block + 1) * BLOCK))
        assert Counter(names[e] for e in chosen) == {"a": 1080, "b": 6585, "c": 2335}


def test_every_entry_of_a_set_comes_once_before_one_comes_again() -> None:
    mixture = Mixture({"a": Counted(7), "b": Counted(400)}, {"a": 1, "b": 3})
    names = {entry: origin(mixture, entry) for entry in range(len(mixture))}
    seen = [names[entry] for entry in entries(mixture, range(2 * BLOCK), seed=5)]
    for name, length in (("a", 7), ("b", 400)):
        own = [text for text in seen if text.startswith(name)]
        for first in range(0, len(own) - length, length):
            assert len(set(own[first : first + length])) == length
    assert seen[:40] != [names[entry] for entry in entries(mixture, range(40), seed=6)]


def test_the_entry_of_a_sample_does_not_depend_on_which_were_asked_before() -> None:
    sets = {"a": Counted(7), "b": Counted(400)}
    straight = entries(Mixture(sets, {"a": 1, "b": 3}), range(9_900, 10_100))
    jumping = Mixture(sets, {"a": 1, "b": 3})
    backwards = [jumping.entry(0, sample) for sample in reversed(range(9_900, 10_100))]
    assert backwards[::-1] == straight


def test_an_unusable_entry_is_replaced_by_another_one_of_its_set() -> None:
    mixture = Mixture({"a": Counted(5, bad=(0, 1, 2)), "b": Counted(5)}, {"a": 1, "b": 1})
    first = drawn(mixture, range(60))
    assert first == drawn(mixture, range(60))
    assert {text for text in first if text.startswith("a")} == {"a: 3", "a: 4"}
    assert abs(sum(text.startswith("a") for text in first) - 30) < 15


def test_what_is_held_out_is_spread_over_all_sets() -> None:
    mixture = Mixture({"a": Counted(40), "b": Counted(4)}, {"a": 1, "b": 1})
    origins = [origin(mixture, entry) for entry in range(len(mixture))]
    assert sorted(origins) == sorted([f"a: {i}" for i in range(40)] + [f"b: {i}" for i in range(4)])
    assert all(any(t.startswith("b") for t in origins[i : i + 11]) for i in range(0, 44, 11))
    assert (mixture.counts.used, mixture.counts.rejected) == (44, {"empty mask": 2})


@pytest.mark.parametrize(
    ("weights", "said"),
    [({"a": 1}, "sets and weights differ in b"), ({"a": -1, "b": 1}, "weight of a is -1"),
     ({"a": 0, "b": 0}, "no set of the mixture has a weight"), ({"a": 1, "b": 1e-6}, "b weighs"),
     ({"a": 1, "b": float("nan")}, "weight of b is nan")],
)  # fmt: skip
def test_weights_that_cannot_be_are_refused(weights: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Mixture({"a": Counted(3), "b": Counted(3)}, weights)


PAPER = ("youtube_vos", "youtube_vis", "mose", "vipseg", "uvo", "burst", "viton_hd",
         "fashion_tryon", "mvimgnet", "msra", "duts", "hflickr", "lvis", "sam")  # fmt: skip


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 14 sets of Table 1 as they are released, and indexed."""
    root = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as few:
        few.setattr(videos, "FRAMES", 3)
        few.setattr(videos, "VIDEOS", 4)
        few.setattr(views, "NUMBER", 3)
        few.setenv("XDG_CACHE_HOME", str(root / "cache"))
        for name in PAPER:
            TREES[name](root / name)
            indexed(name, root / name, root / "indexes" / name)
    return root


def asked(root: Path) -> list[str]:
    wide = "{min_mask_area: 0.001, min_reference_box: 0.0, min_component: 0.1}"
    given = ["data=paper_mix", f"data.root={root}"]
    for name in PAPER:
        given += [f"data.sets.{name}.index={root / 'indexes' / name}",
                  f"data.sets.{name}.limits={wide}", f"data.sets.{name}.held_out=0.3"]  # fmt: skip
    return given


def paper_mix(root: Path, *more: str) -> Mixture:
    cfg = compose_config("train", *asked(root), *more)
    made: Any = make_source(cfg.data, "train", 0)
    return made


def test_the_papers_mixture_has_the_shares_of_the_released_code(paper: Path) -> None:
    mixture = paper_mix(paper)
    assert mixture.names == PAPER
    share = dict(zip(mixture.names, 100 * mixture.shares, strict=True))
    kinds = {"video": PAPER[:6], "try-on": PAPER[6:8], "multi-view": PAPER[8:9],
             "stills": PAPER[9:]}  # fmt: skip
    sums = {kind: round(sum(share[name] for name in names), 1) for kind, names in kinds.items()}
    assert sums == {"video": 65.8, "try-on": 9.0, "multi-view": 14.4, "stills": 10.8}


def test_sets_that_are_not_there_are_named_and_left_out_only_when_asked(
    paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = [f"data.sets.{name}.root={paper / 'gone'}" for name in ("mose", "sam")]
    gone += [f"data.sets.{name}.index=null" for name in ("mose", "sam")]
    with pytest.raises(
        InputError, match=r"2 of the mixture's 14 sets .* mose, sam; .*allow_missing"
    ):
        paper_mix(paper, *gone)
    mixture = paper_mix(paper, *gone, "data.allow_missing=true")
    assert set(PAPER) - set(mixture.names) == {"mose", "sam"}
    assert "left out 2 of the mixture's 14 sets" in capsys.readouterr().out
    paper_mix(paper, *gone, "data.weights.mose=0", "data.weights.sam=0")
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match="the mixture's sets are youtube_vos"):
        paper_mix(paper, "+data.weights.moose=1")


def test_a_set_that_is_there_but_not_indexed_is_never_left_out(
    paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"no index yet.*anydoor_lab.index data=mose"):
        paper_mix(paper, "data.sets.mose.index=null", "data.allow_missing=true")


def test_a_training_on_the_papers_mixture_logs_loss_by_set_type_and_timestep(
    paper: Path, pipeline: Any, tmp_path: Path
) -> None:
    from accelerate import Accelerator

    from anydoor_lab.training.batches import FitSettings
    from anydoor_lab.training.fit import fit, start

    stream = PairStream(paper_mix(paper), Conditioner(resolution=32, id_size=32))
    settings = FitSettings(steps=6, batch_size=16, log_every=6)
    state = start(small_objective(pipeline.model), settings, Accelerator(cpu=True))
    (*_, last) = fit(state, stream, settings)
    found = {name.removeprefix("loss/") for name in last.metrics if name.startswith("loss/")}
    assert found >= {"still", "video", "multiview", "t_0_250", "t_250_500", "t_500_750"}
    assert len([name for name in found if name.startswith("set/")]) >= 12
    assert {name for name in found if name.startswith("set/")} <= {f"set/{n}" for n in PAPER}
    assert state.rejected == {}


def test_a_mixture_is_indexed_set_by_set(
    paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    only = [f"data.weights.{name}=0" for name in PAPER if name not in ("msra", "mose", "duts")]
    given = ["data=paper_mix", f"data.root={paper}", "data.sets.duts.root=nowhere", *only]
    ended = inside.run("index", *given, "index.workers=0", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "mose train: 4 groups" in ended.out and "msra: 8 groups" in ended.out
    assert "duts: missing, nowhere is no folder" in ended.out and "lvis" not in ended.out
    packed = inside.run("index", *given, "do=shard", f"shards.out={tmp_path / 's'}", cwd=tmp_path)
    assert packed.code == 0, packed.err
    assert {path.parent.name for path in (tmp_path / "s").rglob("*.tar")} == {"mose", "msra"}
