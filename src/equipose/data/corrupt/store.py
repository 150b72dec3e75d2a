"""A store whose frames and labels are corrupt by a plan."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer
from numpy import ndarray
from numpy.typing import NDArray

from equipose.data.corrupt.plan import CorruptionPlan
from equipose.data.corrupt.schedule import Schedule, fault_key, make_schedule, occurrences, possible
from equipose.data.corrupt.table import KIND_NAMES, LABEL, Corruption, find_corruption
from equipose.data.corrupt.truth import FrameTruth
from equipose.data.store import FrameStore
from equipose.data.view import StoreView
from equipose.errors import UsageError
from equipose.modality import MODALITIES

_SOURCE_ORDER = ("snr", "doppler")


class CorruptedStore(StoreView):
    """The frames of a store, some of them corrupt; see ``FrameStore``.

    What is wrong with a frame depends on the plan, the recordings of its room and the frame: not on what is asked for
    with it, or when. Frames that were not recorded, are empty clouds or hold NaN stay as they are.

    Args:
        store: the clean frames.
        plan: what to do with them.
        side: (recording,) numbers; frames are exchanged between recordings of the same number only. One number for all
            by default.
        radar_columns: what radar columns 3 and 4 are, as in ``DataSettings``.

    Attributes:
        store: as given.
        plan: as given.

    Raises:
        UsageError: if the plan names a sensor that the store has not, or a fault that needs a second recording or
            subject where there is one.
    """

    def __init__(
        self,
        store: FrameStore,
        plan: CorruptionPlan,
        side: Integer[ndarray, " recording"] | None = None,
        radar_columns: tuple[str, str] = _SOURCE_ORDER,
    ) -> None:
        super().__init__(store)
        self.plan = plan
        self.side = np.zeros(len(store.recordings), np.int64) if side is None else side
        self.radar_columns = radar_columns
        unknown = [name for name in ({} if plan.sensors == "all" else plan.sensors) if name not in store.modalities]
        if unknown:
            raise UsageError(
                f"the plan corrupts {', '.join(unknown)}, and the data has {', '.join(store.modalities)}: name sensors "
                "that are there, such as "
                f"sensors={{{store.modalities[0]}: [all]}}"
            )
        for what in (*store.modalities, LABEL):
            possible(plan, what, store.recordings)
        self._schedules: dict[str, Schedule] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_occurrence", "present")} | {
            "_schedules": {}
        }

    def schedule(self, what: str) -> Schedule:
        """What is planned for every row of a sensor, or of the ``label``."""
        if what not in self._schedules:
            self._schedules[what] = make_schedule(self.plan, what, self.store, self.side)
        return self._schedules[what]

    @cached_property
    def present(self) -> dict[str, NDArray[np.bool_]]:
        """Modality -> (N,) rows with a frame; reads the frames of dead sensors on first use."""
        out = {}
        for name, have in self.store.present.items():
            dead = np.flatnonzero(self.schedule(name).kind == KIND_NAMES.index("dead"))
            out[name] = have.copy()
            out[name][dead[self.corrupt(name, dead)]] = False
        return out

    def target(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """(n, joint, 3) metres, camera frame; some of them wrong."""
        rows = np.asarray(rows, np.int64)
        schedule = self.schedule(LABEL)
        values = np.array(self.store.target(schedule.source[rows]))
        for i in np.flatnonzero(schedule.kind[rows] >= 0):
            values[i] = self._changed(LABEL, values[i], int(rows[i]))
        return values

    def dense(self, modality: str, rows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values (n, *shape) float32 and valid (n,); see ``FrameStore.dense``."""
        rows = np.asarray(rows, np.int64)
        values, valid = self.store.dense(modality, rows)
        corrupt = self._planned(modality, rows, valid)
        corrupt = corrupt[[usable(modality, values[i]) for i in corrupt]] if len(corrupt) else corrupt
        valid = valid.copy()
        moved, source = self._moved(modality, rows, corrupt)
        if len(moved):
            values[moved], valid[moved] = self.store.dense(modality, source)
        for i in corrupt:
            if self._fault(modality, int(rows[i])).missing:
                values[i], valid[i] = 0.0, False
            elif valid[i] and usable(modality, values[i]):
                values[i] = self._changed(modality, values[i], int(rows[i]))
        return values, valid

    def cloud(
        self, modality: str, rows: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
        """Points (P, channel) float32, counts (n,) and valid (n,); see ``FrameStore.cloud``."""
        rows = np.asarray(rows, np.int64)
        points, counts, valid = self.store.cloud(modality, rows)
        planned = self._planned(modality, rows, valid)
        if not len(planned):
            return points, counts, valid
        clouds = split_clouds(points, counts)
        corrupt = planned[[usable(modality, clouds[i]) for i in planned]]
        valid = valid.copy()
        moved, source = self._moved(modality, rows, corrupt)
        if len(moved):
            others, sizes, valid[moved] = self.store.cloud(modality, source)
            for i, other in zip(moved.tolist(), split_clouds(others, sizes), strict=True):
                clouds[i] = other
        for i in corrupt.tolist():
            if self._fault(modality, int(rows[i])).missing:
                clouds[i], valid[i] = points[:0], False
            elif valid[i] and usable(modality, clouds[i]):
                clouds[i] = self._changed(modality, clouds[i], int(rows[i]))
        return np.concatenate(clouds), np.array([len(cloud) for cloud in clouds], np.int64), valid

    def corrupt(self, modality: str, rows: NDArray[Any]) -> Bool[ndarray, " row"]:
        """Which frames of a sensor are not what the clean store has; reads the clean frames that are planned."""
        rows = np.asarray(rows, np.int64)
        planned = np.flatnonzero(self.schedule(modality).kind[rows] >= 0)
        mask = np.zeros(len(rows), bool)
        if MODALITIES[modality].kind == "cloud":
            points, counts, valid = self.store.cloud(modality, rows[planned])
            frames: Sequence[NDArray[Any]] = split_clouds(points, counts)
        else:
            frames, valid = self.store.dense(modality, rows[planned])  # type: ignore[assignment]  # an array has rows
        mask[planned] = [bool(ok) and usable(modality, frame) for frame, ok in zip(frames, valid, strict=True)]
        return mask

    def truth(self, rows: NDArray[Any], modalities: Sequence[str] | None = None) -> FrameTruth:
        """What was done to each of some frames.

        Args:
            rows: (row,) rows of the store.
            modalities: sensors, in the order wanted; the store's by default.
        """
        rows = np.asarray(rows, np.int64)
        names = tuple(self.modalities if modalities is None else modalities)
        sensor = np.zeros((len(rows), len(names)), bool)
        kind = np.full(sensor.shape, -1, np.int16)
        severity = np.zeros(sensor.shape, np.int8)
        for column, name in enumerate(names):
            schedule = self.schedule(name)
            mask = self.corrupt(name, rows)
            sensor[:, column] = mask
            kind[mask, column] = schedule.kind[rows[mask]]
            severity[mask, column] = schedule.severity[rows[mask]]
        label = self.schedule(LABEL)
        return FrameTruth(
            modalities=names,
            sensor=sensor,
            kind=kind,
            severity=severity,
            label=label.kind[rows] >= 0,
            label_kind=label.kind[rows],
            label_severity=label.severity[rows],
            target=np.array(self.store.target(rows)),
        )

    @cached_property
    def _occurrence(self) -> Int64[ndarray, " recording"]:
        return occurrences(self.recordings)

    def _fault(self, what: str, row: int) -> Corruption:
        return find_corruption(what, KIND_NAMES[self.schedule(what).kind[row]])

    def _changed(self, what: str, frame: NDArray[np.float32], row: int) -> NDArray[np.float32]:
        """The frame shown at ``row``, after the fault of that row; its dtype stays."""
        schedule = self.schedule(what)
        fault = self._fault(what, row)
        if fault.change is None:
            return frame
        recording = int(self.frame_recording[row])
        of_burst, of_frame = (
            fault_key(self.plan.seed, what, fault, self.recordings, self._occurrence, recording, at)
            for at in (int(schedule.burst[row]), row)
        )
        turned = what == "mmwave" and self.radar_columns != _SOURCE_ORDER
        given = frame[:, [0, 1, 2, 4, 3]] if turned else frame
        changed = fault.change(
            given,
            fault.level(int(schedule.severity[row])),
            np.random.default_rng((*of_burst, 0)),
            np.random.default_rng((*of_frame, 1)),
        )
        return (changed[:, [0, 1, 2, 4, 3]] if turned else changed).astype(frame.dtype, copy=False)

    def _planned(self, modality: str, rows: NDArray[np.int64], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Positions in ``rows`` of recorded frames with a fault."""
        return np.flatnonzero((self.schedule(modality).kind[rows] >= 0) & valid)

    def _moved(
        self, modality: str, rows: NDArray[np.int64], corrupt: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Those positions of ``corrupt`` that show another frame, and its row."""
        source = self.schedule(modality).source[rows[corrupt]]
        elsewhere = source != rows[corrupt]
        return corrupt[elsewhere], source[elsewhere]


def split_clouds(points: NDArray[np.float32], counts: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """One array for each frame's points."""
    ends = np.cumsum(counts).tolist()
    return [points[end - count : end] for end, count in zip(ends, counts.tolist(), strict=True)]


def usable(modality: str, frame: NDArray[Any]) -> bool:
    """Whether a recorded frame holds anything: points, finite values, a WiFi packet that is not zero."""
    if MODALITIES[modality].kind == "csi":
        with np.errstate(invalid="ignore"):
            return not np.isnan(frame).any() and bool((frame[0] > -np.inf).any())
    return frame.size > 0 and bool(np.isfinite(frame).all())
