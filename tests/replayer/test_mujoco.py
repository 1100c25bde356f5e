"""Recordings of MuJoCo back in MuJoCo: states, films, and runs that are made again bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import recd
from recd.cli import main
from recd_client import CSVFile, HDF5File, NPZFile, OptionError, Recorder
from recd_client.errors import DataLossWarning, ReplayWarning
from recordings import decoded, manifest_of

if not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported

if find_spec("mujoco"):
    import mujoco

    from recd_client.mujoco import record

pytestmark = [
    pytest.mark.requires("mujoco"),
    pytest.mark.filterwarnings("error::recd_client.DataLossWarning"),
    pytest.mark.usefixtures("shared_runtime"),
]

#: Two bodies that fall onto the floor and each other, an arm with a motor and one with a muscle's activation.
XML = """
<mujoco model="heap">
  <option timestep="0.002"/> <size nuserdata="3"/>
  <worldbody>
    <light pos="0 0 3"/> <camera name="side" pos="0 -3 1" xyaxes="1 0 0 0 .3 1"/>
    <camera name="top" pos="0 0 4"/>
    <geom type="plane" size="3 3 .1" rgba=".2 .3 .4 1"/>
    <body name="box" pos="0 0 .5">
      <freejoint name="root"/> <geom type="box" size=".1 .1 .1" rgba="1 .5 0 1"/>
      <body pos=".2 0 0">
        <joint name="hip" axis="0 1 0"/> <geom type="capsule" fromto="0 0 0 .3 0 0" size=".05"/>
        <body pos=".3 0 0"><joint name="rail" type="slide"/><geom size=".04"/></body>
      </body>
    </body>
    <body pos=".1 0 .9"><freejoint/><geom type="box" size=".1 .1 .1"/></body>
    <body name="hand" mocap="true" pos="1 0 1"><geom size=".05" contype="0" conaffinity="0"/></body>
  </worldbody>
  <actuator>
    <motor name="pull" joint="hip" gear="3"/>
    <general joint="rail" dyntype="filter" dynprm=".05" gainprm="2"/>
  </actuator>
  <sensor><jointvel name="hip_speed" joint="hip"/></sensor>
</mujoco>
"""
STEPS = 400


def simulation(xml: str = XML) -> tuple[Any, Any]:
    """The model, and its data."""
    model = mujoco.MjModel.from_xml_string(xml)
    return model, mujoco.MjData(model)


def drive(data: Any, i: int) -> None:
    """What the policy of the run does before step ``i``."""
    data.ctrl[:] = np.sin(i / 20), np.cos(i / 30)
    data.mocap_pos[0, 0] = 1 + i * 1e-3
    data.qfrc_applied[2] = 0.1 * (i % 7)


def recorded(
    directory: Path, *sinks: Any, steps: int = STEPS, start: int = 0, **options: Any
) -> tuple[Any, Any]:
    """A run, recorded behind each step; the model and its data as they stand at the end."""
    model, data = simulation()
    for i in range(start):
        drive(data, i)
        mujoco.mj_step(model, data)
    with record(model, data, *sinks, dir=directory, overflow="block", **options) as rec:
        for i in range(start, start + steps):
            drive(data, i)
            mujoco.mj_step(model, data)
            rec.step()
    return model, data


@pytest.mark.parametrize("sink", [NPZFile, HDF5File, CSVFile])
def test_a_run_with_contacts_is_made_again_bit_for_bit(tmp_path: Path, sink: Any) -> None:
    """From any format, begun amid contacts: every state that a fresh simulation goes through is the same."""
    suffix = {NPZFile: "npz", HDF5File: "h5", CSVFile: "csv"}[sink]
    model, data = recorded(tmp_path, sink(f"s.{suffix}"), state=True, start=300)
    assert data.ncon
    report = recd.replay(tmp_path, model, check=True)
    assert report.holds, report
    assert report.samples == STEPS - 1
    assert report.starts == 1
    assert {*report.fields} == {"time", "qpos", "qvel", "act", "qacc_warmstart"}
    assert report.first is None
    assert not report.notes
    assert "none differs in any bit" in str(report)


def test_what_the_warmstart_is_recorded_for(tmp_path: Path) -> None:
    """Without it a run that is taken up amid contacts is left, by little; the report says that it lacks."""
    names = ("qpos", "qvel", "act", "ctrl", "qfrc_applied", "mocap_pos")
    model, _ = recorded(tmp_path, state=names, start=300)
    report = recd.replay(tmp_path, model, check=True)
    assert not report.holds
    assert "qacc_warmstart" in report.notes[0]
    assert recd.replay(tmp_path, model, check=True, tolerance=report.fields["qvel"].max_abs).holds


def test_a_run_can_be_made_again_from_before_its_first_sample(tmp_path: Path) -> None:
    """`begin="simulation"` makes the step to the first sample, too, from the data given, which stays as it is."""
    model, _ = recorded(tmp_path, state=("qpos", "qvel", "act", "ctrl", "qfrc_applied", "mocap_pos"))
    fresh = mujoco.MjData(model)
    report = recd.replay(tmp_path, (model, fresh), check=True, begin="simulation")
    assert report.holds, report
    assert (report.samples, report.starts) == (STEPS, 0)
    assert fresh.time == 0


def test_a_divergence_is_told_with_its_place_and_its_size(tmp_path: Path) -> None:
    """One control was another, at sample 100: found there, in the first number that it moves, with all maxima."""
    model, _ = recorded(tmp_path, NPZFile("s.npz"), state=True)
    with np.load(tmp_path / "s.npz") as file:
        arrays = dict(file)
    arrays["ctrl"] = arrays["ctrl"].copy()
    arrays["ctrl"][100, 0] += 1e-6
    changed = tmp_path / "changed"
    changed.mkdir()
    np.savez(changed / "s.npz", **arrays)
    report = recd.replay(changed / "s.npz", model, check=True)
    assert not report.holds
    assert report.first is not None
    assert report.first.index == 100
    assert report.first.field in ("qpos", "qvel")
    assert report.first.recorded == arrays[report.first.field][(100, *report.first.element)]
    assert report.first.replayed != report.first.recorded
    worst = report.fields["qvel"]
    assert 1e-12 < worst.max_abs < 1e3
    assert worst.differing > 200
    assert 100 <= worst.at < STEPS
    assert report.fields["time"].differing == 0
    bounds: dict[str, Any] = {"tolerance": worst.max_abs / 2, "fields": ["qvel"]}
    later = recd.replay(changed / "s.npz", model, check=True, **bounds).first
    assert later is not None
    assert later.index > 100
    assert "sample 100 (t = 0.202 s)" in str(report)


def test_states_are_set_with_all_that_follows_from_them(tmp_path: Path) -> None:
    """Positions of bodies are those of the state, not of the one before, as after mj_step alone; time is set, too."""
    model, _ = recorded(tmp_path, NPZFile("s.npz"))
    own = mujoco.MjData(model)
    replayed = recd.replay(tmp_path, (model, own))
    oracle = mujoco.MjData(model)
    with np.load(tmp_path / "s.npz") as file:
        qpos, t = file["qpos"], file["timestamp"]
    assert len(replayed) == STEPS
    seen = 0
    for row in replayed:
        oracle.qpos[:] = qpos[row.index]
        mujoco.mj_kinematics(model, oracle)
        np.testing.assert_array_equal(own.xpos[:-1], oracle.xpos[:-1])  # the last one is moved by mocap
        assert own.time == t[row.index] == row.t
        seen += 1
    assert seen == STEPS
    replayed.set(7)
    np.testing.assert_array_equal(own.qpos, qpos[7])


def test_fields_per_number_and_downsampled_streams_are_understood(tmp_path: Path) -> None:
    """`named=True` gives the same check; of every fifth sample, five steps are made with the inputs held."""
    model, _ = recorded(tmp_path / "named", named=True, state=True)
    report = recd.replay(tmp_path / "named", model, check=True)
    assert report.holds
    assert not report.notes
    model, data = simulation()
    with record(model, data, state=True, dir=tmp_path / "fifth", overflow="block") as rec:
        for i in range(50):
            drive(data, i)
            mujoco.mj_step(model, data, 5)
            rec.step()
    report = recd.replay(tmp_path / "fifth", model, check=True)
    assert report.holds, report


def test_samples_before_the_step_are_told_from_those_behind_it(tmp_path: Path) -> None:
    """Recorded before `mj_step`, it holds as that; read the other way the report says which way it would."""
    model, data = simulation()
    with record(model, data, state=True, dir=tmp_path, overflow="block") as rec:
        for i in range(50):
            drive(data, i)
            rec.step()
            mujoco.mj_step(model, data)
    assert recd.replay(tmp_path, model, check=True, recorded="before").holds
    report = recd.replay(tmp_path, model, check=True)
    assert report.first is not None
    assert report.first.index == 1
    assert any("recorded='before'" in note for note in report.notes)


def test_resets_and_gaps_begin_anew(tmp_path: Path) -> None:
    """Each episode is checked from its own first state; behind lost samples the check is not whole, and says so."""
    model, data = simulation()
    rec = record(model, data, state=True, dir=tmp_path, overflow="block")
    for episode in range(3):
        mujoco.mj_resetData(model, data)
        data.qvel[0] = episode
        for i in range(40):
            drive(data, i)
            mujoco.mj_step(model, data)
            if (episode, i) == (1, 20):
                rec.stream.ring.writer.lose("interrupted", data.time)
            else:
                rec.step()
    with pytest.warns(DataLossWarning, match="interrupted 1"):
        rec.close()
    report = recd.replay(tmp_path, model, check=True)
    assert report.first is None, report
    assert not report.holds
    assert report.starts == 4
    (skipped,) = report.skipped
    assert (skipped.start, skipped.stop) == (60, 61)
    assert "1 samples before it were lost" in skipped.reason
    assert recd.replay(tmp_path, model, check=True, episodes=[0, 2]).holds


def test_another_camera_films_the_recorded_states(tmp_path: Path) -> None:
    """Frame by frame what that camera sees of the state; its manifest names the recording that it was made of."""
    model, _ = recorded(tmp_path / "run", NPZFile("s.npz"), steps=100, state=True)
    run = recd.open(tmp_path / "run")
    summary = recd.replay(run, model).render(
        "top", to=tmp_path / "again" / "top.mp4", fps=50, width=160, height=120
    )
    assert summary.complete
    frames = decoded(tmp_path / "again" / "top.mp4")
    assert [*recd.open(tmp_path / "again")] == ["top"]
    with pytest.raises(OptionError, match="newest recording of that directory"):
        recd.replay(run, model).render("top", to=tmp_path / "run" / "top.mp4")
    assert manifest_of(tmp_path / "again")["metadata"]["replay_of"]["session"] == run.session
    replayed = recd.replay(run, model)
    expected = []
    with mujoco.Renderer(model, 120, 160) as renderer:
        for row in replayed:
            if row.index % 10 == 0:
                renderer.update_scene(replayed.data, "top")
                expected.append(renderer.render().astype(int))
    assert len(frames) == len(expected) == 10
    assert np.abs(frames - np.array(expected)).mean() < 3
    assert np.abs(expected[0] - expected[-1]).mean() > 0.2


def test_the_command_ends_with_0_only_if_the_check_holds(tmp_path: Path) -> None:
    """A model from a file: 0 for the recorded one, 1 with the first divergence for a heavier one; it films, too."""
    recorded(tmp_path / "run", state=True, steps=100)
    (tmp_path / "heap.xml").write_text(XML)
    (tmp_path / "heavy.xml").write_text(XML.replace('size=".04"', 'size=".05"'))
    run = ["replay", str(tmp_path / "run"), "--model"]
    held = CliRunner().invoke(main, [*run, str(tmp_path / "heap.xml"), "--check"])
    assert (held.exit_code, "none differs" in held.stdout) == (0, True), held.output
    left = CliRunner().invoke(main, [*run, str(tmp_path / "heavy.xml"), "--check"])
    assert (left.exit_code, "diverges in any bit at sample 1 " in left.stdout) == (1, True), left.output
    film = tmp_path / "film" / "side.mp4"
    size = ["--fps", "25", "--size", "96x64", "-o", str(film)]
    made = CliRunner().invoke(main, [*run, str(tmp_path / "heap.xml"), "--render", "side", *size])
    assert made.exit_code == 0, made.output
    assert decoded(film).shape == (5, 64, 96, 3)
    neither = CliRunner().invoke(main, ["replay", str(tmp_path / "run")])
    assert (neither.exit_code, "--model or --env" in neither.stderr) == (2, True)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """No states, another model, another time step, no actions, unknown options: named, with what there is."""
    with Recorder("x", dir=tmp_path / "none", dt=0.1) as rec:
        rec.stream("pose", NPZFile("p.npz")).write({"x": 1.0})
    model, data = simulation()
    with pytest.raises(OptionError, match=r"qpos(.|\n)*the recording has pose: x"):
        recd.replay(tmp_path / "none", model)
    recorded(tmp_path / "run", steps=20)
    ball = "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>"
    other, _ = simulation(ball)
    with pytest.raises(
        OptionError, match=r"qpos was recorded with the shape \(16,\), this model's has \(7,\)"
    ):
        recd.replay(tmp_path / "run", other)
    recorded(tmp_path / "named", steps=20, named=True)
    with pytest.raises(
        OptionError, match=r"qpos was recorded of 16 joints or objects, this model has 7; not in both: qp"
    ):
        recd.replay(tmp_path / "named", other)
    slow, _ = simulation(XML.replace("0.002", "0.004"))
    with pytest.raises(OptionError, match=r"time step of 0\.002 s, the model has 0\.004 s"):
        recd.replay(tmp_path / "run", slow, check=True)
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "run" / "state.npz", tmp_path / "alone")
    with pytest.raises(OptionError, match=r"is 0\.5 steps of 0\.004 s"):
        recd.replay(tmp_path / "alone" / "state.npz", slow, check=True)
    with record(model, data, state=("qpos", "qvel"), dir=tmp_path / "passive") as passive:
        passive.step()
    with pytest.raises(OptionError, match="also needs act, ctrl"):
        recd.replay(tmp_path / "passive", model, check=True)
    with pytest.raises(OptionError, match="no such stream"):
        recd.replay(tmp_path / "run", model, stream="nothing")
    with pytest.raises(OptionError, match="there is no episode 4"):
        recd.replay(tmp_path / "run", model, episodes=[4])
    with pytest.raises(OptionError, match="'sensordat' is not recorded"):
        recd.replay(tmp_path / "run", model, check=True, fields=["sensordat"])
    with pytest.raises(OptionError, match="speed: no option of a check"):
        recd.replay(tmp_path / "run", model, check=True, speed=2)
    with pytest.raises(OptionError, match="cannot replay into int"):
        recd.replay(tmp_path / "run", 3)
    with pytest.raises(OptionError, match="no model of MuJoCo"):
        recd.replay(tmp_path / "run", str(tmp_path / "nothing.xml"))


def test_other_versions_and_other_names_are_told(tmp_path: Path) -> None:
    """A manifest with another version of MuJoCo, and a model whose joint has another name, warn; and are noted."""
    model, _ = recorded(tmp_path, steps=20, state=True)
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["metadata"]["mujoco"] = "2.0.0"
    path.write_text(json.dumps(manifest))
    with pytest.warns(ReplayWarning, match=r"recorded with MuJoCo 2\.0\.0"):
        report = recd.replay(tmp_path, model, check=True)
    assert any("2.0.0" in note for note in report.notes)
    renamed, _ = simulation(XML.replace('"hip"', '"hop"'))
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always")
        recd.replay(tmp_path, renamed)
    assert any("recorded of 'qpos.hip', the model has 'qpos.hop'" in str(w.message) for w in met)
