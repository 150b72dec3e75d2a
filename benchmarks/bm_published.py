"""Does learning on simulated MM-Fi look like what is published for the real one? One data seed a call, then a summary.

    equipose simulate mini --preset mmfi-mini --actions 2 3 4 5 13 14 17 18 19 20 21 22 23 27 --seed 0
    equipose data pack mini mini-packed
    python benchmarks/bm_published.py mini-packed --seed 0 --out benchmarks/results/published_data0.json
    python benchmarks/bm_published.py --summary benchmarks/results/published_data*.json

Parts, all of protocol P1 with the small networks and joint training:

- alone: every sensor by itself, RGB + LiDAR, and all four, split S1;
- nobody: WiFi of the same rooms with nobody in them (labels stay), splits S1 and S2, beside WiFi with the people;
- new room: WiFi and RGB, each of the four rooms held out in turn.

Two trainings run at a time, one thread each. Selection is on the validation split, the figures are of the test split.
A call that was interrupted goes on. Errors are kept per recording, so that differences can be paired.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from pathlib import Path

ROOMS = (1, 2, 3, 4)
FOUR = "rgb+lidar+mmwave+wifi"


def tasks() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Part, sensors, data set and settings of every training, longest first."""
    alone = [("alone", s, "people", ("data.split=S1",)) for s in (FOUR, "rgb+lidar", "lidar", "mmwave", "wifi", "rgb")]
    nobody = [("nobody", "wifi", data, ("data.split=S2",)) for data in ("people", "nobody")]
    nobody += [("nobody", "wifi", "nobody", ("data.split=S1",))]
    rooms = [(f"room{room}", s, "people", _held_out(room)) for s in ("wifi", "rgb") for room in ROOMS]
    return [*alone, *nobody, *rooms]


def _held_out(room: int) -> tuple[str, ...]:
    inside = list(range(10 * room - 9, 10 * room + 1))
    outside = [s for s in range(1, 41) if s not in inside]
    return ("data.split=manual", f"data.train_subjects={outside}", f"data.test_subjects={inside}")


def without_people(packed: str, out: str, seed: int) -> None:
    """The WiFi of every recording's room with nobody in it, receiver errors included; labels as they are."""
    import numpy as np

    from equipose.data.store import open_store
    from equipose.data.writer import PackedWriter
    from equipose.simulate import wifi, wifi_band, wifi_paths
    from equipose.simulate.randomness import generator_for
    from equipose.simulate.room import make_room

    store = open_store(packed, ["wifi"])
    empty = {room: wifi_paths.empty_channel(make_room(seed, room)) for room in ROOMS}
    with PackedWriter(Path(out), skeleton=store.skeleton, modalities=("wifi",), simulated=("wifi",)) as writer:
        for key, start, count in zip(
            store.recordings.keys.tolist(), store.recordings.start, store.recordings.length, strict=True
        ):
            room = make_room(seed, key[0])
            field = np.broadcast_to(empty[key[0]], (int(count), wifi_band.PACKETS, *empty[key[0]].shape))
            amplitude, phase = wifi.to_files(*wifi.receive(field, room, generator_for(seed, "nobody", *key)))
            rows = np.arange(start, start + count)
            writer.add(*key, target=store.target(rows), frames={"wifi": list(np.stack([amplitude, phase], axis=1))})


def train_one(job: tuple[str, str, str, tuple[str, ...], int, str]) -> dict:
    """Train and evaluate one set of sensors; runs in a process of its own."""
    label, data, sensors, overrides, epochs, out = job
    import numpy as np

    from equipose.config import load_recipe
    from equipose.data.dataset import datasets
    from equipose.metrics.baselines import group_mean_pose
    from equipose.train.evaluate import evaluate
    from equipose.train.fit import train

    flags = [f"data.modalities={sensors.split('+')}", "data.protocol=P1", f"train.epochs={epochs}", *overrides]
    recipe = load_recipe(None, flags)
    run = train(recipe, Path(data), Path(out), label, on_step=lambda steps: None)
    metrics = evaluate(run, quiet=True)
    with np.load(run.path / "predictions.npz") as found:
        joints, target = found["joints"].astype(float), found["target"].astype(float)
        environment, subject, action, recording = (
            found[key] for key in ("environment", "subject", "action", "recording")
        )
    known = datasets(Path(data), recipe.data)["train"]
    poses = known.store.target(known.rows)
    rooms = group_mean_pose(poses, known.environment)
    overall = group_mean_pose(poses, None)[0]
    error = {
        "mpjpe_mm": joints - target,
        "mean_pose_mm": overall - target,
        "room_mean_mm": np.stack([rooms.get(int(e), overall * np.nan) for e in environment]) - target,
    }
    millimetres = {key: 1000 * np.linalg.norm(value, axis=-1).mean(-1) for key, value in error.items()}
    rows = []
    for index in np.unique(recording):
        mine = recording == index
        first = int(np.flatnonzero(mine)[0])
        rows.append(
            {
                "subject": int(subject[first]),
                "action": int(action[first]),
                **{key: round(float(value[mine].mean()), 3) for key, value in millimetres.items()},
            }
        )
    keys = ("mean_pose_mpjpe_mm", "room_mean_mpjpe_mm", "subject_mean_mpjpe_mm", "training_seconds")
    full = metrics["coalitions"][-1]
    return {
        "mpjpe_mm": full["mpjpe_mm"],
        "interval": full["interval"],
        "pa_mpjpe_mm": full["pa_mpjpe_mm"],
        **{key: metrics[key] for key in keys},
        "recordings": [
            {key: (None if value != value else value) for key, value in row.items()} for row in rows
        ],  # NaN is not JSON
    }


def measure(args: argparse.Namespace) -> None:
    """Run the grid of one data seed and print a line per training."""
    from equipose.train.run_dir import environment

    env = environment()
    command = f"python benchmarks/bm_published.py {args.data.name} --seed {args.seed} --epochs {args.epochs}"
    result = {
        "command": command,
        "seed": args.seed,
        "epochs": args.epochs,
        "versions": env["versions"],
        "machine": env["machine"],
        "rows": [],
    }
    if args.out.is_file():
        earlier = json.loads(args.out.read_text())
        if earlier["command"] == command:
            result["rows"] = earlier["rows"]
    rows = result["rows"]
    done = {(row["part"], row["sensors"], row["data"], row["split"]) for row in rows}
    with tempfile.TemporaryDirectory() as scratch:
        nobody = Path(scratch) / "nobody"
        without_people(str(args.data), str(nobody), args.seed)
        sources = {"people": str(args.data), "nobody": str(nobody)}
        todo = [
            (part, sensors, data, settings)
            for part, sensors, data, settings in tasks()
            if (part, sensors, data, settings[0].removeprefix("data.split=")) not in done
            and (not args.parts or part.rstrip("1234") in args.parts)
        ]
        jobs = [
            ("-".join((part, sensors, data, settings[0][-2:])), sources[data], sensors, settings, args.epochs, scratch)
            for part, sensors, data, settings in todo
        ]
        with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=1) as pool:
            for (part, sensors, data, settings), row in zip(todo, pool.imap(train_one, jobs, chunksize=1), strict=True):
                split = settings[0].removeprefix("data.split=")
                rows.append({"part": part, "sensors": sensors, "data": data, "split": split, **row})
                print(
                    f"{part:<7} {split:<6} {data:<7} {sensors:<22} {row['mpjpe_mm']:6.1f} mm; mean pose "
                    f"{row['mean_pose_mpjpe_mm']:.1f}, room mean {row['room_mean_mpjpe_mm'] or float('nan'):.1f}",
                    flush=True,
                )
                args.out.write_text(json.dumps(result) + "\n")


def summary(files: list[Path]) -> None:
    """Means over data seeds, and paired differences with 95 % intervals over (data seed, person)."""
    results = [json.loads(path.read_text()) for path in files]
    found = {
        (result["seed"], row["part"], row["sensors"], row["data"], row["split"]): row
        for result in results
        for row in result["rows"]
    }
    seeds = sorted({key[0] for key in found})
    print(f"data seeds {', '.join(map(str, seeds))}")
    for part, sensors, data, settings in tasks():
        key = (part, sensors, data, settings[0].removeprefix("data.split="))
        mine = [found[seed, *key] for seed in seeds if (seed, *key) in found]
        if mine:
            errors = " / ".join(f"{row['mpjpe_mm']:.1f}" for row in mine)
            oracles = ", ".join(
                f"{name} " + " / ".join("-" if row[field] is None else f"{row[field]:.0f}" for row in mine)
                for name, field in (
                    ("mean pose", "mean_pose_mpjpe_mm"),
                    ("room mean", "room_mean_mpjpe_mm"),
                    ("subject mean", "subject_mean_mpjpe_mm"),
                )
            )
            mean = sum(row["mpjpe_mm"] for row in mine) / len(mine)
            print(f"{key[0]:<7} {key[3]:<6} {data:<7} {sensors:<22} {errors} mm, mean {mean:.1f}; {oracles}")
    for sensors in ("wifi", "rgb"):
        rows = [row for key, row in found.items() if key[1].startswith("room") and key[2] == sensors]
        if rows:
            errors, means = ([row[field] for row in rows] for field in ("mpjpe_mm", "mean_pose_mpjpe_mm"))
            print(
                f"{sensors} in {len(rows)} new rooms: {min(errors):.0f} to {max(errors):.0f}, mean "
                f"{sum(errors) / len(rows):.0f} mm; mean pose {sum(means) / len(rows):.0f}"
            )
    for split in ("S1", "S2"):
        people = ("alone" if split == "S1" else "nobody", "wifi", "people", split)
        nobody = ("nobody", "wifi", "nobody", split)
        _difference(f"WiFi with people - room mean, {split}", found, seeds, people, "room_mean_mm")
        _difference(f"WiFi, nobody there - room mean, {split}", found, seeds, nobody, "room_mean_mm")
    _difference("four - RGB and LiDAR, S1", found, seeds, ("alone", FOUR, "people", "S1"), "mpjpe_mm", "rgb+lidar")
    for sensors in ("wifi", "rgb"):
        for room in ROOMS:
            new = (f"room{room}", sensors, "people", "manual")
            _difference(f"{sensors} in new room {room} - mean pose", found, seeds, new, "mean_pose_mm")


def _difference(label: str, found: dict, seeds: list[int], key: tuple, against: str, other: str | None = None) -> None:
    """Print the mean of the first minus the second, for all seeds together, recording by recording."""
    import numpy as np

    from equipose.metrics.bootstrap import bootstrap_difference

    first, second, group, each = [], [], [], []
    for seed in seeds:
        row = found.get((seed, *key))
        beside = found.get((seed, key[0], other, *key[2:])) if other else row
        if row is None or beside is None:
            continue
        a = [r["mpjpe_mm"] for r in row["recordings"]]
        b = [r[against] for r in beside["recordings"]]
        assert [(r["subject"], r["action"]) for r in row["recordings"]] == [
            (r["subject"], r["action"]) for r in beside["recordings"]
        ]
        first += a
        second += b
        group += [100 * seed + r["subject"] for r in row["recordings"]]
        each.append(float(np.mean(a) - np.mean(b)))
    if first:
        values = (np.array(first), np.array(second), np.array(group))
        low, high = bootstrap_difference(*values, 2000, np.random.default_rng(0))
        print(
            f"{label}: {np.mean(first) - np.mean(second):+.1f} mm [{low:+.1f}, {high:+.1f}]; by data seed "
            + " / ".join(f"{value:+.1f}" for value in each)
        )


def main() -> None:
    """Measure one data seed, or summarise several."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?", help="a packed folder: mmfi-mini with the actions of P1")
    parser.add_argument("--seed", type=int, default=0, help="the seed the data were simulated with")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--parts", nargs="+", default=[], help="alone, nobody, room; all by default")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("published.json"))
    parser.add_argument("--summary", type=Path, nargs="+", metavar="FILE")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.summary:
        summary(args.summary)
    elif args.data is None:
        parser.error("give a packed folder, or --summary FILES")
    else:
        measure(args)


if __name__ == "__main__":
    main()
