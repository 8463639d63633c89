"""The shape of the code: floors, sizes and habits, and that each of these checks can fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import architecture as shape

ROOT = Path(__file__).resolve().parents[1]
MODULES = shape.modules(ROOT / shape.PACKAGE)
TEXT_ENDINGS = {".py", ".yaml", ".toml", ".md", ".txt", ".js", ".ipynb", ".json", ".csv", ".tex"}

Checker = Callable[[str, str], Iterator[str]]


def faults(check: Checker, files: dict[str, str] = MODULES) -> str:
    return "\n".join(fault for path, source in files.items() for fault in check(source, path))


def test_the_street_holds_commands_only_and_every_folder_is_a_room() -> None:
    folders = {path.split("/")[0] for path in MODULES if "/" in path}
    assert list(shape.street_faults(MODULES, folders)) == []
    standing = {path.removesuffix(".py") for path in MODULES if "/" not in path}
    assert standing == {"__init__", *shape.COMMANDS}
    for command in shape.COMMANDS:
        assert 'if __name__ == "__main__":' in MODULES[f"{command}.py"]


def test_what_does_not_belong_into_the_street_is_found() -> None:
    found = list(shape.street_faults(["train.py", "pair.py", "models/x.py"], ["models", "things"]))
    assert [fault.split(" ")[0] for fault in found] == ["pair.py", "things/"]


def test_imports_go_down_the_floors_only() -> None:
    assert faults(shape.floor_faults) == ""


def test_libraries_stand_where_they_belong() -> None:
    assert faults(shape.library_faults) == ""


def test_files_lines_and_functions_are_short() -> None:
    assert faults(shape.size_faults) == ""


def test_most_functions_are_very_short() -> None:
    lengths = [length for source in MODULES.values() for _, length in shape.functions(source)]
    assert list(shape.length_faults(lengths)) == []


def test_modules_keep_the_habits() -> None:
    assert faults(shape.habit_faults) == ""


def test_public_names_say_what_they_are() -> None:
    assert faults(shape.docstring_faults) == ""


def test_tests_and_experiments_keep_size_and_habits() -> None:
    folders = [folder for folder in ("tests", "experiments") if (ROOT / folder).is_dir()]
    for folder in folders:
        files = shape.modules(ROOT / folder)
        long_lines = [f for f in faults(shape.size_faults, files).splitlines() if ":" in f]
        assert long_lines == []
        assert faults(shape.habit_faults, files) == ""


def test_no_text_names_a_path_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: the list of the repository's files is unknown")
    files = [ROOT / name for name in listed.stdout.splitlines()]
    texts = {str(f): f.read_text("utf-8") for f in files if f.suffix in TEXT_ENDINGS and f.exists()}
    assert faults(shape.machine_path_faults, texts) == ""


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, anydoor_lab; dir(anydoor_lab); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("path", "source", "says"),
    [
        (
            "models/unet.py",
            "from anydoor_lab.pipeline.anydoor import AnyDoorPipeline",
            "models/unet.py (floor 2) imports pipeline.anydoor.AnyDoorPipeline (floor 3)",
        ),
        ("models/unet.py", "from ..diffusion import loss", "imports diffusion.loss (floor 2)"),
        ("data/index.py", "def f():\n    import anydoor_lab.conditioning", "imports conditioning"),
        ("training/fit.py", "from anydoor_lab.runs import tracking", "imports runs.tracking"),
        ("structures/boxes.py", "from anydoor_lab import data", "imports data (floor 1)"),
        ("train.py", "from anydoor_lab import evaluate", "imports evaluate (floor 6)"),
        ("report/tables.py", "from anydoor_lab.config import compose", "imports config.compose"),
    ],
)
def test_an_import_that_does_not_go_down_is_found(path: str, source: str, says: str) -> None:
    assert says in "\n".join(shape.floor_faults(source, path))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/unet.py", "from anydoor_lab.models.idx import vgg\nfrom . import vae"),
        ("train.py", "from anydoor_lab.config import assemble\nimport torchmetrics"),
        ("data/index.py", "from anydoor_lab import Pair\nfrom anydoor_lab.structures import rng"),
        ("structures/pair.py", "from anydoor_lab.structures.boxes import Box"),
        ("__init__.py", "from anydoor_lab.pipeline import AnyDoorPipeline"),
    ],
)
def test_an_import_that_goes_down_is_left_alone(path: str, source: str) -> None:
    assert list(shape.floor_faults(source, path)) == []


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("training/fit.py", "import wandb", True),
        ("runs/tracking.py", "import wandb", False),
        ("report/wandb_report.py", "import wandb", False),
        ("report/tables.py", "def f():\n    from wandb import Table", True),
        ("config/assemble.py", "from omegaconf import DictConfig", False),
        ("pipeline/anydoor.py", "import hydra.utils", True),
        ("analysis/attention.py", "from matplotlib import pyplot", True),
        ("report/figures.py", "from matplotlib import pyplot", False),
        ("report/figures.py", "import ipywidgets", True),
        ("train.py", "import torch", True),
        ("train.py", "def main():\n    import torch", False),
        ("config/x.py", "try:\n    from diffusers import x\nexcept ImportError:\n    x = 0", True),
        ("config/assemble.py", "if TYPE_CHECKING:\n    from torch import nn", False),
        ("data/index.py", "from torch.utils.data import Dataset", True),
        ("models/vae.py", "import torch", False),
    ],
)
def test_a_library_in_the_wrong_place_is_found(path: str, source: str, found: bool) -> None:
    assert bool(list(shape.library_faults(source, path))) is found


def test_a_functions_length_is_its_body_without_the_docstring() -> None:
    source = 'def f(\n    a,\n):\n    """One.\n\n    Two.\n    """\n    b = a\n\n    return b\n'
    assert shape.functions(source) == [("f", 3)]
    assert shape.functions('def f():\n    """Only words."""') == [("f", 0)]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("a = 1\n" * 301, "x.py has 301 lines; at most 300"),
        ("a = 1\nb = '" + "b" * 96 + "'", "x.py:2 has 102 characters; at most 100"),
        ("def f():\n" + "    a = 1\n" * 61, "x.py: f has 61 lines; at most 60"),
    ],
)
def test_what_is_too_long_is_found(source: str, says: str) -> None:
    assert list(shape.size_faults(source, "x.py")) == [says]
    assert list(shape.size_faults("def f():\n" + "    a = 1\n" * 60, "x.py")) == []


def test_long_functions_in_general_are_found() -> None:
    assert list(shape.length_faults([5] * 96 + [60] * 4)) == []
    assert "median" in next(shape.length_faults([11] * 10))
    assert "95th" in next(shape.length_faults([5] * 90 + [41] * 10))


FUTURE = "from __future__ import annotations\n"


@pytest.mark.parametrize(
    ("path", "source", "says"),
    [
        ("x.py", "a = 1", "lacks `from __future__"),
        ("models/utils.py", FUTURE, "'utils' says nothing"),
        ("base/x.py", FUTURE, "'base' says nothing"),
        ("x.py", FUTURE + "try:\n    f()\nexcept:\n    pass", "x.py:4 has a bare except"),
        ("x.py", FUTURE + "torch.load(path)", "x.py:2 calls torch.load without"),
        ("x.py", FUTURE + "torch.load(path, weights_only=False)", "x.py:2 calls torch.load"),
    ],
)
def test_a_bad_habit_is_found(path: str, source: str, says: str) -> None:
    assert says in "\n".join(shape.habit_faults(source, path))


def test_good_habits_are_left_alone() -> None:
    source = FUTURE + "try:\n    torch.load(path, weights_only=True)\nexcept OSError:\n    raise"
    assert list(shape.habit_faults(source, "models/vae.py")) == []
    assert list(shape.habit_faults('"""Networks."""', "models/__init__.py")) == []


def test_a_missing_docstring_is_found() -> None:
    source = 'class A:\n    """It."""\n    def f(self): ...\n    def _g(self): ...\ndef h(): ...\n'
    assert list(shape.docstring_faults(source, "x.py")) == [
        "x.py: A.f has no docstring",
        "x.py: h has no docstring",
    ]
    quiet = 'def f():\n    """It."""\n    def inner(): ...\n'
    assert list(shape.docstring_faults(quiet, "x.py")) == []


def test_a_path_of_one_machine_is_found() -> None:
    text = "docs/work/x and x.org/home/y are fine\nbad = '" + "/work" + "/shared'"
    found = list(shape.machine_path_faults(text, "x.md"))
    assert found == ["x.md:2 names a path of one machine (" + "/work" + "/...)"]


@pytest.mark.xdist_group("told")
def test_tests_of_a_group_are_known_to_the_workers(request: pytest.FixtureRequest) -> None:
    grouped = getattr(request.config.option, "loadgroup", False)  # of a worker of pytest-xdist
    assert request.node.nodeid.endswith("@told") == grouped
