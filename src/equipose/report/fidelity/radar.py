"""Radar: the simulated radar in front of MARS's own people, movement by movement, against their real clouds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from equipose.data.mars import read_mars
from equipose.data.mmfi import frame_path
from equipose.data.readers import read_ground_truth, read_mmwave
from equipose.report.fidelity.charts import distribution
from equipose.report.fidelity.radar_pairs import paired
from equipose.report.fidelity.radar_people import (
    Clouds,
    Key,
    by_movement,
    clouds_of,
    pooled,
    real_clouds,
    same_people,
)
from equipose.report.fidelity.rows import Chapter, Figure, Parts, Row, compare
from equipose.report.fidelity.source import Simulation

AXES = ("forward", "right", "down")
_LABELS = "Median taken off: the mount is not calibrated. Labels and radar of MARS may not share a clock."
_OTHER = (
    "The simulated data set's radar is MM-Fi's (60 GHz, its settings not public) and its people do other things; "
    "what can be judged is judged above, with MARS's radar and people."
)
_LEAD = (
    "MARS has real clouds of an IWR1443 and a skeleton of every frame. The simulated radar, set as that one (77 GHz, "
    "range step 2.93 cm, Doppler step 0.356 m/s, 64 points, the authors' box), watches the same people: their 17 "
    "joints at 10 Hz, skipped frames interpolated, smoothed over 0.5 s so that the Kinect's jitter is no Doppler. Each "
    "person's simulated clouds of a movement are held against the same person's real clouds of that movement; the "
    "distance is the mean over all of them. The tolerance is how far the real clouds of different people doing the "
    "same movement lie apart: the mean as well, so stricter than the 90th percentile. The official test part is used. "
    "Not blind: the receiver's noise was set by the spread of strengths in these files, the number of samples by the "
    "width of a peak, and the radar's height, which is not published, was chosen of six mounts with the rows in view."
)


def radar_chapter(simulation: Simulation, real: Path) -> Chapter:
    """All of the radar."""
    recordings = read_mars(real / "mars")
    # One official part of every person is enough, and takes half the time.
    groups = by_movement([r for r in recordings if r.part == "test"] or recordings)
    real_of = {key: real_clouds(recordings) for key, recordings in groups.items()}
    mine = same_people(groups)
    data_set = data_set_clouds(simulation)
    subjects = sorted({subject for subject, _ in groups})
    people = {f"MARS subject {s}": pooled([real_of[key] for key in real_of if key[0] == s]) for s in subjects}
    return Chapter(
        "mmwave",
        "Radar",
        _LEAD,
        (*judged_rows(mine, real_of), *context_rows(data_set, people)),
        _figures(pooled(list(mine.values())), people, data_set),
    )


def data_set_clouds(simulation: Simulation) -> Clouds:
    """All clouds of the simulated data set, around the pelvis of the ground truth."""
    points, counts, pelvis = [], [], []
    for recording in simulation.recordings:
        truth = read_ground_truth(recording.path / "ground_truth.npy")
        for frame in recording.files.get("mmwave", ()):
            points.append(read_mmwave(frame_path(str(recording.path), "mmwave", int(frame))))
            counts.append(len(points[-1]))
            pelvis.append(truth[int(frame) - 1, 0])
    return clouds_of(np.concatenate(points), np.array(counts), np.array(pelvis), frames=len(counts))


def doppler_step(doppler: Float[np.ndarray, " point"]) -> float:
    """Smallest usual distance between the speeds that occur, m/s."""
    values = np.unique(np.round(doppler, 3))
    steps = np.diff(values)
    return float(np.median(steps[steps > 0.005])) if (steps > 0.005).any() else 0.0


def judged_rows(mine: Mapping[Key, Clouds], real: Mapping[Key, Clouds]) -> tuple[Row, ...]:
    """Number, strength, speed and place of the points, same people and movements."""

    def both(of: Callable[[Clouds], Any]) -> tuple[dict[Key, Any], dict[Key, Any]]:
        return {key: of(mine[key]) for key in real}, {key: of(cloud) for key, cloud in real.items()}

    def sample(values: np.ndarray) -> np.ndarray:
        return values if values.size else np.zeros(1)

    def centred(values: np.ndarray) -> np.ndarray:
        return sample(np.asarray(values - np.median(values)) if values.size else values)

    def still(cloud: Clouds) -> float:
        return 100 * float(np.mean(sample(cloud.doppler) == 0))

    return (
        paired(
            "radar_points",
            "points per frame that has any",
            "points",
            *both(lambda c: sample(c.counts)),
            "Wasserstein",
            digits=1,
        ),
        paired(
            "radar_empty",
            "frames without a point",
            "%",
            *both(lambda c: 100 * c.empty),
            "difference",
            summary="share",
            caution="Labels of empty frames are not published; joints are interpolated there.",
        ),
        paired(
            "radar_strength",
            "strength around its median",
            "dB",
            *both(lambda c: centred(c.strength)),
            "Wasserstein",
            summary="standard deviation",
            show=np.std,
            caution="The receiver's noise was set by this spread. MARS rounds intensities to whole numbers from 3 on.",
        ),
        paired(
            "radar_doppler",
            "Doppler",
            "m/s",
            *both(lambda c: sample(c.doppler)),
            "Wasserstein",
            summary="standard deviation",
            show=np.std,
            digits=3,
        ),
        paired(
            "radar_still",
            "points at zero Doppler",
            "%",
            *both(still),
            "difference",
            summary="share",
            caution="The mean over chirps is taken off in both; slow parts remain. Other motion in the room is not "
            "simulated.",
            digits=1,
        ),
        *(
            paired(
                f"radar_around_{axis}",
                f"points around the pelvis, {axis}",
                "m",
                *both(lambda c, i=i: centred(c.around[:, i])),  # type: ignore[misc]  # a default binds the loop
                "Wasserstein",
                summary="standard deviation",
                show=np.std,
                caution=_LABELS,
                digits=3,
            )
            for i, axis in enumerate(AXES)
        ),
        *(
            paired(
                f"radar_within_{axis}",
                f"spread within a frame, {axis}",
                "m",
                *both(lambda c, i=i: sample(c.within[:, i])),  # type: ignore[misc]  # a default binds the loop
                "Wasserstein",
                caution="Of frames with eight points or more; needs no labels.",
                digits=3,
            )
            for i, axis in enumerate(AXES)
        ),
    )


def context_rows(data_set: Clouds, people: Mapping[str, Clouds]) -> tuple[Row, ...]:
    """The simulated data set's own radar, shown and not judged."""
    clouds = tuple(people.values())
    parts = Parts(tuple(people), " and ".join(people), clouds)
    return (
        compare(
            "radar_data_set_points",
            "data set: points per frame that has any",
            "points",
            [data_set.counts],
            parts.of([c.counts for c in clouds]),
            "Wasserstein",
            caution="MM-Fi: 28 to 33 on average are reported for the 85 % of frames that its filtered release keeps.",
            context=_OTHER,
            digits=1,
        ),
        compare(
            "radar_data_set_few",
            "data set: frames of less than 10 points",
            "%",
            [100 * _few(data_set)],
            parts.of([100 * _few(c) for c in clouds]),
            "difference",
            summary="share",
            caution="MM-Fi: about 15 % of frames are left out of its filtered release, by an unknown rule.",
            context=_OTHER,
            digits=1,
        ),
        compare(
            "radar_doppler_step",
            "data set: Doppler step",
            "m/s",
            [doppler_step(data_set.doppler)],
            parts.of([doppler_step(c.doppler) for c in clouds]),
            "difference",
            summary="step",
            floor=0.001,
            floor_reason="MARS files have three decimals",
            context="A setting of the chirp table, chosen for MM-Fi's radar, whose own is not public.",
            digits=3,
        ),
    )


def _few(clouds: Clouds) -> float:
    return 1.0 - float((clouds.counts >= 10).sum()) / clouds.frames


def _figures(mine: Clouds, real: dict[str, Clouds], data_set: Clouds) -> tuple[Figure, ...]:
    step = 0.05
    speeds = np.arange(-2.5, 2.5 + step, step) - step / 2
    counts = np.arange(0.0, 66.0, 2.0) - 0.5

    def level(clouds: Clouds) -> np.ndarray:
        return np.asarray(clouds.strength - np.median(clouds.strength))

    def each(of: Callable[[Clouds], np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return of(mine), {name: of(clouds) for name, clouds in real.items()}

    people = "Simulated: MARS's radar and people."
    return (
        Figure("Points per frame", distribution("points", *each(lambda c: c.counts), bins=counts), people),
        Figure(
            "Points per frame, the simulated data set",
            distribution("points", data_set.counts, {k: c.counts for k, c in real.items()}, bins=counts),
            "Context: the data set's radar is another one.",
        ),
        Figure(
            "Strength",
            distribution("strength around its median (dB)", *each(level), bins=np.arange(-20.0, 36.0)),
            people,
        ),
        Figure(
            "Doppler",
            distribution("Doppler (m/s, positive when receding)", *each(lambda c: c.doppler), bins=speeds),
            people,
        ),
        *(
            Figure(
                f"Points around the pelvis, {axis}",
                distribution(
                    f"position relative to the pelvis, {axis} (m)",
                    *each(lambda c, i=i: c.around[:, i]),  # type: ignore[misc]  # a default binds the loop
                    bins=np.linspace(-1.2, 1.2, 61),
                ),
                "Drawn as measured, mount offsets included.",
            )
            for i, axis in enumerate(AXES)
        ),
    )
