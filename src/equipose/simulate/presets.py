"""Named sizes of the simulated data set."""

from __future__ import annotations

from dataclasses import dataclass

from equipose.errors import unknown_name
from equipose.modality import DEFAULT_MODALITIES

ALL_SUBJECTS = tuple(range(1, 41))
ALL_ACTIONS = tuple(range(1, 28))


@dataclass(frozen=True)
class Preset:
    """What is simulated.

    Attributes:
        name: as typed on the command line.
        subjects: 1 to 40; subject s lives in room (s - 1) // 10 + 1, as in MM-Fi.
        actions: 1 to 27.
        frames: per recording, at 10 Hz.
        modalities: sensors written.
    """

    name: str
    subjects: tuple[int, ...]
    actions: tuple[int, ...]
    frames: int
    modalities: tuple[str, ...] = DEFAULT_MODALITIES

    @property
    def num_frames(self) -> int:
        """Frames in all."""
        return len(self.subjects) * len(self.actions) * self.frames


PRESETS = {
    preset.name: preset
    for preset in (
        # Two arms, one arm, trunk, legs and the whole body: all kinds of movement in eight actions.
        Preset("demo", ALL_SUBJECTS, (2, 5, 9, 12, 13, 18, 22, 27), 24),
        Preset("tiny", (1, 5, 11, 15), (12, 13), 12),
        Preset("mmfi-mini", ALL_SUBJECTS, ALL_ACTIONS, 30),
        Preset("mmfi-full", ALL_SUBJECTS, ALL_ACTIONS, 297),
    )
}


def preset(name: str) -> Preset:
    """The preset called ``name``; UsageError with the nearest name otherwise."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS, "equipose simulate --help")
    return PRESETS[name]


def environment_of(subject: int) -> int:
    """MM-Fi's room of a subject: S01 to S10 in E01, and so on."""
    return (subject - 1) // 10 + 1
