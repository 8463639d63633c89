"""Signals: the step is finished and saved, and a second signal ends at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerate import Accelerator

from anydoor_lab.training.checkpoint import newest_checkpoint
from anydoor_lab.training.stop import Listening

ROOT = Path(__file__).resolve().parents[1]
SLOW = """
import sys, time
from pathlib import Path
from accelerate import Accelerator
from test_training import Line, Points
from anydoor_lab.training.fit import FitSettings, fit, start
from anydoor_lab.training.stop import Listening

class SlowPoints(Points):
    def __getitem__(self, index):
        if index == 4:
            print("third", flush=True)
        time.sleep(float(sys.argv[2]) if index >= 4 else 0.05)
        return super().__getitem__(index)

folder, workers = Path(sys.argv[1]), int(sys.argv[3])
settings = FitSettings(steps=400, batch_size=2, checkpoint_every=1000, workers=workers, seed=0)
state = start(Line(), settings, Accelerator(cpu=True))
with Listening() as listening:
    for progress in fit(state, SlowPoints(), settings, folder):
        if state.accelerator.is_main_process:
            print(progress.step, flush=True)
        if listening.asked(state.accelerator):
            state.save(folder, {}, 2)
            print("saved", flush=True)
            state.accelerator.wait_for_everyone()
            try:
                listening.leave()
            except KeyboardInterrupt:  # a command ends so
                sys.exit(130)
"""

AGREE = """
import os, signal, torch
from accelerate import Accelerator
from anydoor_lab.training.stop import Listening

accelerator, whole = Accelerator(cpu=True), torch.distributed.all_reduce

def reduced(*arguments, **settings):
    whole(*arguments, **settings)
    if accelerator.process_index == 1:
        os.kill(os.getpid(), signal.SIGUSR1)

torch.distributed.all_reduce = reduced
with Listening() as listening:
    first = listening.asked(accelerator)
    torch.distributed.all_reduce = whole
    then = listening.asked(accelerator)
os.write(1, f"{accelerator.process_index}:{first},{then}\\n".encode())
torch.distributed.destroy_process_group()  # as every command does
"""


def begin(
    folder: Path, *launch: str, seconds: float = 0.05, workers: int = 0
) -> subprocess.Popen[str]:
    script = folder / "slow.py"
    script.write_text(SLOW)
    search = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = os.environ | {"PYTHONPATH": search, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    call = [sys.executable, *launch, str(script), str(folder), str(seconds), str(workers)]
    process = subprocess.Popen(
        call, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    while (line := process.stdout.readline()).strip() != "2":
        assert line, process.communicate()
    return process


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [
        (signal.SIGTERM, 143, 2),
        (signal.SIGUSR1, 128 + signal.SIGUSR1, 2),
        (signal.SIGINT, 130, 2),
    ],
)
def test_a_signal_to_all_of_a_run_saves_the_step_it_is_in(
    tmp_path: Path, number: int, code: int, workers: int
) -> None:
    process = begin(tmp_path, workers=workers)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    found = newest_checkpoint(tmp_path)
    steps = [2, *(int(line) for line in out.split() if line.isdigit())]
    assert found is not None and out.split()[-1] == "saved" and found.step == steps[-1]


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    process = begin(tmp_path, seconds=600)  # the third step would take ten minutes
    assert process.stdout is not None and process.stdout.readline().strip() == "third"
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(1.2)  # sooner it counts as the same signal
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert newest_checkpoint(tmp_path) is None


def test_all_processes_stop_after_the_same_step(tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    process = begin(tmp_path, *launch)
    os.kill(process.pid, signal.SIGTERM)  # torchrun passes it on
    out, err = process.communicate(timeout=60)
    assert out.count("saved") == 2, err
    found = newest_checkpoint(tmp_path)
    steps = [2, *(int(line) for line in out.split() if line.isdigit())]
    assert found is not None and found.step == steps[-1]


def test_a_signal_that_comes_while_the_processes_agree_is_not_lost(tmp_path: Path) -> None:
    script = tmp_path / "agree.py"
    script.write_text(AGREE)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        [sys.executable, *launch, str(script)], env=env, capture_output=True, text=True, timeout=90
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert sorted(ended.stdout.split()) == ["0:False,True", "1:False,True"]


@pytest.fixture
def alone() -> Accelerator:
    return Accelerator(cpu=True)


def test_a_launchers_own_handler_has_the_last_word(alone: Accelerator) -> None:
    heard: list[int] = []
    former = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    try:
        with Listening() as listening:
            assert not listening.asked(alone)
            os.kill(os.getpid(), signal.SIGUSR2)
            assert listening.asked(alone) and heard == []
            listening.leave()  # it requeues the job, or lets training go on
            assert heard == [signal.SIGUSR2] and not listening.asked(alone)
    finally:
        signal.signal(signal.SIGUSR2, former)


def test_handlers_are_put_back_and_ignored_signals_stay_ignored(alone: Accelerator) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    former = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        before = [signal.getsignal(number) for number in numbers]
        with Listening() as listening:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not listening.asked(alone)
            assert signal.getsignal(signal.SIGTERM) not in before
        assert [signal.getsignal(number) for number in numbers] == before
    finally:
        signal.signal(signal.SIGUSR1, former)


def test_one_signal_sent_twice_by_a_launcher_counts_once(alone: Accelerator) -> None:
    with Listening() as listening:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert listening.asked(alone)
        with pytest.raises(SystemExit) as end:
            listening.leave()
    assert end.value.code == 143
