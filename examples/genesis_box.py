"""A box falls in Genesis; its pose goes to CSV and NPZ, its camera to MP4, all out of process.

Run it with ``python examples/genesis_box.py`` in an environment that has Genesis 1.4.5 or 0.4.5 and
``recd-client``. ``--drop-in`` records with Genesis' own options instead, which is what unchanged code does.
"""

from __future__ import annotations

import argparse
import os

import genesis as gs
import recd_client
import recd_client.genesis

DT = 0.01  # s


def main() -> None:
    """Simulate and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help=f"of {DT} s each (default: 200)")
    parser.add_argument("--dir", default=".", help="where the files go (default: here)")
    parser.add_argument("--drop-in", action="store_true", help="record with Genesis' own options")
    args = parser.parse_args()
    os.makedirs(args.dir, exist_ok=True)
    recd_client.genesis.install(dir=args.dir)
    files = gs.recorders if args.drop_in else recd_client

    gs.init(backend=gs.cpu, logging_level="warning")
    scene = gs.Scene(sim_options=gs.options.SimOptions(dt=DT), show_viewer=False)
    scene.add_entity(gs.morphs.Plane())
    box = scene.add_entity(gs.morphs.Box(size=(0.2, 0.2, 0.2), pos=(0.0, 0.0, 1.0), euler=(20, 30, 0)))
    camera = scene.add_camera(res=(320, 240), pos=(2.0, 2.0, 1.2), lookat=(0.0, 0.0, 0.4), fov=40)

    old = gs.__version__.startswith("0.")
    record = scene.start_recording if old else scene.add_recorder
    record(lambda: {"pos": box.get_pos(), "vel": box.get_vel()}, files.CSVFile(filename="box.csv"))
    record(box.get_quat, files.NPZFile(filename="quat.npz", hz=50))
    scene.build()

    if old:
        camera.start_recording()
    else:
        camera.start_recording("camera.mp4", fps=50)
    for step in range(args.steps):
        scene.step()
        if old and step % 2 == 1:  # 1.4.5 renders by itself
            camera.render()
    camera.stop_recording(**({"save_to_filename": "camera.mp4", "fps": 50} if old else {}))
    scene.stop_recording()
    print(f"recorded in {args.dir}")


if __name__ == "__main__":
    main()
