"""Every process killed at random moments, alone and together, again and again; afterwards nothing is left over."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from killing import Simulation, check_files, daemon_pid, encoders, holders, kill_all, wait_for_manifest
from leaks import Census, leaks_since
from recd_client import Recorder
from recd_client.errors import OutputError
from rounds import dice, share
from support import processes_of

SAMPLES = 150
#: With up to so many deaths a worker is replaced; with five within ten seconds it is given up.
MOST_KILLS = 3


class Scene:
    """A recording that runs, and who may die in it."""

    def __init__(self, runtime: Path, directory: Path, chance: random.Random) -> None:
        self.runtime = runtime
        self.directory = directory
        self.chance = chance
        self.sim = Simulation(directory, SAMPLES, "--step-s", "0.002")

    def of_command(self, word: str) -> list[int]:
        """Processes of this daemon with the word in their command."""
        return [pid for pid, command in processes_of(self.runtime).items() if word in command]

    def simulation(self) -> list[int]:
        """The simulation."""
        return [self.sim.process.pid]

    def main_worker(self) -> list[int]:
        """The worker of the arrays."""
        return [pid for group, pid in holders(self.directory).items() if group == "main"]

    def video_worker(self) -> list[int]:
        """The worker of the video."""
        return [pid for group, pid in holders(self.directory).items() if group != "main"]

    def ffmpeg(self) -> list[int]:
        """Every encoder."""
        return encoders(self.runtime)

    def supervisor(self) -> list[int]:
        """The supervisor."""
        return self.of_command("recd start --foreground")[:1]

    def fork_server(self) -> list[int]:
        """The fork server, of which workers are forked, and which have its command line."""
        workers = holders(self.directory).values()
        return [pid for pid in self.of_command("forkserver") if pid not in workers]

    def workers(self) -> list[int]:
        """All workers at once."""
        return [*holders(self.directory).values()]

    def daemon(self) -> list[int]:
        """Everything but the simulation."""
        return [pid for pid in processes_of(self.runtime) if pid not in (self.sim.process.pid, os.getpid())]

    def everything(self) -> list[int]:
        """Everything."""
        return [*self.daemon(), self.sim.process.pid]

    def pick(self) -> list[int]:
        """Some of them at random."""
        found = self.everything()
        return self.chance.sample(found, self.chance.randrange(1, len(found) + 1))

    def wait_for_a_moment(self) -> bool:
        """Go on for a random while; False when the simulation has ended by then."""
        at = self.chance.randrange(SAMPLES // MOST_KILLS)
        for _ in range(at):
            if not self.sim.line():
                return False
        time.sleep(self.chance.random() * 0.01)
        return True


VICTIMS: dict[str, Callable[[Scene], list[int]]] = {
    name: getattr(Scene, name)
    for name in (
        "simulation", "main_worker", "video_worker", "ffmpeg", "supervisor", "fork_server", "workers", "daemon",
        "everything", "pick",
    )
}  # fmt: skip


@pytest.mark.parametrize("victim", VICTIMS)
def test_random_kills_lose_nothing_and_leave_nothing(runtime: Path, tmp_path: Path, victim: str) -> None:
    """After any of these deaths, up to three in a recording, each file has all that was published, and no more."""
    chance = dice(victim)
    calm_round(tmp_path / "calm")
    before = Census.when_idle(runtime)
    for number in range(share(len(VICTIMS))):
        print(f"round {number}")
        one_round(Scene(runtime, tmp_path / f"{number}", chance), VICTIMS[victim])
    calm_round(tmp_path / "calm again")  # a fork server that was killed comes back when it is needed
    assert not leaks_since(before, runtime)


def calm_round(directory: Path) -> None:
    """A recording in which nobody dies."""
    with Simulation(directory, 5) as sim:
        sim.finish()
    wait_for_manifest(directory)


def reasons(directory: Path) -> dict[str, str]:
    """Why streams are not complete."""
    streams = json.loads((directory / "manifest.json").read_text())["streams"]
    return {name: stream["reason"] for name, stream in streams.items()}


def one_round(scene: Scene, victims: Callable[[Scene], list[int]]) -> None:
    """Kill, let the rest go on, and look at what came out."""
    sim = scene.sim
    with sim:
        for _ in range(scene.chance.randrange(1, MOST_KILLS + 1)):
            if not scene.wait_for_a_moment():
                break
            killed = kill_all(victims(scene))
            print(f"  {sim.published} published, killed {killed}")
        died = sim.wait() == -signal.SIGKILL
    subprocess.run([sys.executable, "-m", "recd", "start"], check=True, stdout=subprocess.DEVNULL)
    if not died:
        assert sim.closed == "True", reasons(scene.directory)
    if sim.published or scene.directory.exists():
        wait_for_manifest(scene.directory)
    if sim.published:
        check_files(scene.directory, sim.published, sim.published + died)
    assert daemon_pid(scene.runtime)


def test_a_refused_recording_has_no_worker_that_dies_again_and_again(runtime: Path, tmp_path: Path) -> None:
    """Its worker left on purpose: nobody is started in its place, and the daemon forgets it."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        Recorder("refused", dir=tmp_path / "file" / "below")
    calm_round(tmp_path / "calm")
    Census.when_idle(runtime)
    assert "died" not in (runtime / "daemon.log").read_text()
