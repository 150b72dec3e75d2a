"""What to corrupt, how much and how often: settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from equipose.config import Settings
from equipose.data.corrupt.table import LABEL, LABEL_CORRUPTIONS, corruptions_of, find_corruption
from equipose.errors import UsageError

ALL = "all"


class CorruptionPlan(Settings):
    """What happens to which sensor cells and labels.

    Together with a store it says for every frame what is wrong with it. See ``schedule`` for how the frames are chosen.
    """

    sensor_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the frames of each sensor that is corrupt; sensors fail independently of each other."""
    label_rate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the labels that is wrong; independent of the sensors."""
    severity: Literal[1, 2, 3, "mixed"] = 2
    """1, 2 or 3, or `mixed`: drawn for each burst."""
    sensors: dict[str, tuple[str, ...]] | Literal["all"] = "all"
    """Sensor -> names of its corruptions, or all; a sensor that is not named stays clean."""
    labels: tuple[str, ...] = (ALL,)
    """Names of the label corruptions, or all."""
    timing: Literal["burst", "frame"] = "burst"
    """burst: faults last about `burst_seconds`, as real ones do; frame: every frame fails for itself."""
    burst_seconds: float = Field(default=2.0, gt=0.0)
    """How long a fault lasts; a recording shorter than 1.5 times that is corrupt throughout or not at all."""
    seed: int = Field(default=0, ge=0)
    """Changes every choice."""

    @field_validator("sensors")
    @classmethod
    def _known_sensors(cls, value: Any) -> Any:
        if value == ALL:
            return value
        for sensor, names in value.items():
            try:
                if sensor == LABEL:
                    raise UsageError("label is no sensor: name its corruptions under `labels`")
                for name in () if names == (ALL,) else names:
                    find_corruption(sensor, name)
                corruptions_of(sensor)
            except UsageError as error:
                raise ValueError(str(error)) from None
            if not names:
                raise ValueError(f"{sensor} has an empty list: found no corruption, expected names or [all]")
        return value

    @field_validator("labels")
    @classmethod
    def _known_labels(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in () if names == (ALL,) else names:
            try:
                find_corruption(LABEL, name)
            except UsageError as error:
                raise ValueError(str(error)) from None
        if not names:
            raise ValueError(f"found no label corruption, expected [all] or some of {', '.join(LABEL_CORRUPTIONS)}")
        return names

    def names_of(self, what: str) -> tuple[str, ...]:
        """The corruptions planned for a sensor or the ``label``, in the table's order; none for a clean sensor."""
        wanted: tuple[str, ...] = (ALL,)
        if what == LABEL:
            wanted = self.labels
        elif isinstance(self.sensors, dict):
            wanted = self.sensors.get(what, ())
        return tuple(name for name in corruptions_of(what) if name in wanted or wanted == (ALL,))

    def names_a(self, what: str, name: str) -> bool:
        """Whether a corruption is asked for by its name and not by `all`."""
        if what == LABEL:
            return name in self.labels
        return isinstance(self.sensors, dict) and name in self.sensors.get(what, ())

    def rate_of(self, what: str) -> float:
        """The rate asked for a sensor or the ``label``."""
        if what == LABEL:
            return self.label_rate
        return self.sensor_rate if self.names_of(what) else 0.0


def chosen(names: Iterable[str]) -> Mapping[str, Any]:
    """``sensors`` and ``labels`` of a plan from words such as ``lidar.fog wifi.all label.offset``.

    Sensors and labels are narrowed apart: words for sensors alone leave all label corruptions, and the other way round.

    Raises:
        UsageError: if a word names no corruption.
    """
    sensors: dict[str, tuple[str, ...]] = {}
    labels: tuple[str, ...] = ()
    for word in names:
        what, separator, name = word.partition(".")
        if not separator:
            raise UsageError(
                f"--corruptions: found {word!r}, expected SENSOR.NAME such as lidar.points_lost, lidar.all or "
                "label.offset. See: equipose list corruptions"
            )
        if name == ALL:
            corruptions_of(what)
        else:
            find_corruption(what, name)
        if what == LABEL:
            labels = (ALL,) if ALL in (name, *labels) else (*labels, name)
        else:
            sensors[what] = (ALL,) if ALL in (name, *sensors.get(what, ())) else (*sensors.get(what, ()), name)
    return {"sensors": sensors or ALL, "labels": labels or (ALL,)}
