"""A store that shows another one changed; what a subclass does not change passes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipose.data.store import FrameStore, RecordingTable
from equipose.skeleton import Skeleton


class StoreView:
    """The frames of ``store``; see ``FrameStore``.

    Args:
        store: what is looked at; kept as ``self.store``.
    """

    def __init__(self, store: FrameStore) -> None:
        self.store = store

    @property
    def modalities(self) -> tuple[str, ...]:
        """Sensors."""
        return self.store.modalities

    @property
    def skeleton(self) -> Skeleton:
        """Joints of the targets."""
        return self.store.skeleton

    @property
    def simulated(self) -> frozenset[str]:
        """Simulated sensors."""
        return self.store.simulated

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.store.frame_rate_hz

    @property
    def action_names(self) -> Mapping[int, str]:
        """Action number -> words."""
        return self.store.action_names

    @property
    def recordings(self) -> RecordingTable:
        """One row per recording."""
        return self.store.recordings

    @property
    def frame_recording(self) -> NDArray[np.int32]:
        """(N,) recording of each row."""
        return self.store.frame_recording

    @property
    def frame_number(self) -> NDArray[np.int32]:
        """(N,) number in the file name."""
        return self.store.frame_number

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(N,) rows with a finite target."""
        return self.store.labelled

    @property
    def present(self) -> dict[str, NDArray[np.bool_]]:
        """Modality -> (N,) rows with a frame."""
        return self.store.present

    def target(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """(n, joint, 3) metres, camera frame."""
        return self.store.target(rows)

    def dense(self, modality: str, rows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values (n, *shape) float32 and valid (n,); see ``FrameStore.dense``."""
        return self.store.dense(modality, rows)

    def cloud(
        self, modality: str, rows: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
        """Points (P, channel) float32, counts (n,) and valid (n,); see ``FrameStore.cloud``."""
        return self.store.cloud(modality, rows)


class HiddenSensors(StoreView):
    """A store in which some sensors have recorded nothing: not bought yet, or lost.

    Args:
        store: where frames come from.
        available: the sensors that are left; the others stay in ``modalities`` and have no frame.
    """

    def __init__(self, store: FrameStore, available: tuple[str, ...]) -> None:
        super().__init__(store)
        self.available = available

    @property
    def present(self) -> dict[str, NDArray[np.bool_]]:
        """Modality -> (N,) rows with a frame; none for a hidden sensor."""
        present = self.store.present
        return {name: present[name] if name in self.available else np.zeros_like(present[name]) for name in present}

    def dense(self, modality: str, rows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values (n, *shape) float32 and valid (n,); zero and False for a hidden sensor."""
        if modality in self.available:
            return self.store.dense(modality, rows)
        values, _ = self.store.dense(modality, np.asarray(rows)[:0])
        return np.zeros((len(rows), *values.shape[1:]), np.float32), np.zeros(len(rows), bool)

    def cloud(
        self, modality: str, rows: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
        """Points (P, channel) float32, counts (n,) and valid (n,); none for a hidden sensor."""
        if modality in self.available:
            return self.store.cloud(modality, rows)
        points, _, _ = self.store.cloud(modality, np.asarray(rows)[:0])
        return points, np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
