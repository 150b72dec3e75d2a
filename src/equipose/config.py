"""Settings of a run. One recipe describes everything a run did; ``config.yaml`` in the run folder is its copy.

Defaults live here and nowhere else; a recipe file lists only what differs. Imports no torch, so that the command
line can check a recipe quickly.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from equipose.errors import UsageError, unknown_name
from equipose.modality import DEFAULT_MODALITIES, MODALITIES

T = TypeVar("T", bound=BaseModel)
V = TypeVar("V")
PerModality = dict[str, V]
"""Modality -> value. A recipe names only what differs; the other sensors keep their defaults."""


class Settings(BaseModel):
    """Base of all settings: frozen, and a mistyped name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)


class Extrinsics(Settings):
    """Where a sensor sits relative to the camera.

    The sensor's own axes are turned into camera axes first (x right, y down, z forward); then ``offset`` is added.
    MM-Fi publishes no calibration: these are the values that published code uses, and they can be changed.
    """

    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Position of the sensor in the camera frame, metres."""


class MoveSettings(Settings):
    """Training scenes turned about the camera, and made larger or smaller, see ``data.moved``.

    A turn about the vertical axis leaves the floor where it is. The other changes do not, and a camera alone can tell
    distances only by the floor and by how tall people are; so they are off by default.
    """

    share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the training samples whose scene is moved, drawn anew each time; sensors that cannot be moved, such as
    WiFi, are absent from them. Mirrored samples (``data.mirror``) are taken from the same samples, so that only the
    larger of the two shares is without WiFi."""
    turn: float = Field(default=8.0, ge=0.0, le=45.0)
    """Largest angle about the camera's vertical axis, degrees."""
    tilt: float = Field(default=0.0, ge=0.0, le=45.0)
    """Largest angle about its horizontal axis, degrees."""
    roll: float = Field(default=0.0, ge=0.0, le=45.0)
    """Largest angle about its viewing axis, degrees."""
    size: float = Field(default=0.0, ge=0.0, le=1.0)
    """Largest change of size: 0.1 from 1 / 1.1 to 1.1."""


_WINDOWS = {"rgb": 9, "infra1": 9, "infra2": 9, "depth": 1, "lidar": 1, "mmwave": 5, "wifi": 3}
_POINTS = {"lidar": 256, "mmwave": 96}
_CROP = {"lidar": (-1.5, 1.5, -1.6, 0.7, 1.8, 4.8), "mmwave": (-2.0, 2.0, -2.0, 1.5, 0.5, 6.0)}
_EXTRINSICS = {"lidar": Extrinsics(offset=(0.0, -0.2, 0.1)), "mmwave": Extrinsics()}


class DataSettings(Settings):
    """Which recordings, which sensors, which frames."""

    modalities: tuple[str, ...] = DEFAULT_MODALITIES
    protocol: Literal["P1", "P2", "P3"] = "P3"
    """P1: 14 daily actions, P2: 13 rehabilitation actions, P3: all 27."""
    split: Literal["S1", "S2", "S3", "manual", "given"] = "S2"
    """S1 random, S2 cross-subject, S3 cross-environment, as the MM-Fi toolbox has them; manual: the lists below;
    given: the sides stored in the packed folder, such as those of MARS."""
    train_subjects: tuple[int, ...] = ()
    test_subjects: tuple[int, ...] = ()
    actions: tuple[int, ...] = ()
    """Manual split only: the lists; empty ``actions`` means those of the protocol."""
    validation_fraction: float = Field(default=0.125, gt=0.0, lt=1.0)
    """Share of the training subjects that is held out for model selection, per environment."""
    split_seed: int = Field(default=0, ge=0)
    frame_stride: int = Field(default=1, ge=1)
    """Use every n-th frame as a sample (windows still see all frames)."""
    mirror: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the training samples that are mirrored left to right, drawn anew each time; sensors that cannot be
    mirrored, such as WiFi, are absent from them."""
    move: MoveSettings = MoveSettings()
    windows: PerModality[PositiveInt] = _WINDOWS
    """Frames per sensor, centred on the sample's frame and clamped to the recording."""
    points: PerModality[PositiveInt] = _POINTS
    """Points a cloud is cut to (random in training, evenly spaced otherwise)."""
    crop: PerModality[tuple[float, float, float, float, float, float]] = _CROP
    """Box a cloud is cropped to, camera frame, metres: x min, x max, y min, y max, z min, z max."""
    extrinsics: PerModality[Extrinsics] = _EXTRINSICS
    radar_columns: tuple[str, str] = ("snr", "doppler")
    """Meaning of radar columns 3 and 4. The MM-Fi paper says the opposite of what its files hold."""

    @field_validator("modalities")
    @classmethod
    def _known_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in MODALITIES:
                raise ValueError(str(unknown_name("modality", name, MODALITIES)))
        if not names:
            raise ValueError("no sensor is named; expected at least one, such as --modalities rgb lidar mmwave wifi")
        if len(set(names)) != len(names):
            raise ValueError(f"a modality is named twice in {', '.join(names)}: name each sensor once")
        return names

    @field_validator("crop")
    @classmethod
    def _not_empty(cls, boxes: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        for name, box in boxes.items():
            if any(not low < high for low, high in zip(box[::2], box[1::2], strict=True)):
                expected = "[x min, x max, y min, y max, z min, z max]"
                raise ValueError(f"the box of {name} is empty: found {list(box)}, expected {expected}")
        return boxes

    @field_validator("windows", "points", "crop", "extrinsics", mode="before")
    @classmethod
    def _with_defaults(cls, value: Any, info: Any) -> Any:
        """Sensors that are not named keep their default.

        ``info`` is pydantic's ``ValidationInfo``, a protocol that the tests' run-time type checker cannot check.
        """
        defaults = cls.model_fields[info.field_name].default
        if not isinstance(value, dict):
            raise ValueError(  # pydantic turns a ValueError, and no TypeError, into a message
                f"found {value!r}, expected values per sensor, such as --set data.{info.field_name}."
                f"{next(iter(defaults))}=..."
            )
        for name in value:
            if name not in MODALITIES:
                raise ValueError(str(unknown_name("modality", name, MODALITIES)))
            if name not in defaults:
                raise ValueError(f"found {name}, which has no {info.field_name}; only {', '.join(defaults)} have")
        return {**defaults, **value}


class ModelSettings(Settings):
    """The network."""

    size: Literal["small", "paper"] = "small"
    fusion: str = "concat"
    """A name from `equipose list fusion`."""
    width: int = Field(default=128, ge=8, le=8192)
    """Length of each sensor's feature vector."""
    encoders: dict[str, str] = {}
    """Modality -> encoder name, where it should differ from the modality's own kind."""
    pairs: tuple[str, ...] = ()
    """2D joints and a cloud that are brought together before the fusion, such as rgb+lidar: the cloud's depth along
    each joint's ray (``nn.ray_lift``). A pair of which a sensor is not in data.modalities is left out."""

    @field_validator("encoders")
    @classmethod
    def _known_modalities(cls, encoders: dict[str, str]) -> dict[str, str]:
        for name in encoders:
            if name not in MODALITIES:
                raise ValueError(str(unknown_name("modality", name, MODALITIES)))
        return encoders

    @field_validator("pairs")
    @classmethod
    def _joints_and_cloud(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        for pair in pairs:
            names = pair.split("+")
            for name in names:
                if name not in MODALITIES:
                    raise ValueError(str(unknown_name("modality", name, MODALITIES)))
            if [MODALITIES[name].kind for name in names] != ["joints2d", "cloud"]:
                raise ValueError(f"found the pair {pair}, expected 2D joints and a cloud, such as rgb+lidar")
        if len(set(pairs)) != len(pairs):
            raise ValueError(f"a pair is named twice in {', '.join(pairs)}: name each once")
        return pairs


class BalanceSettings(Settings):
    """The balance strategy and its own settings."""

    name: str = "joint"
    """A name from `equipose list balance`."""
    settings: dict[str, Any] = {}
    """Fields of that strategy's settings; see `equipose describe NAME`."""


class ContributionSettings(Settings):
    """How contributions are measured while training."""

    profit: str = "pearson"
    """A name from `equipose list profits`."""
    baseline: Literal["zero", "mean"] = "zero"
    """What stands in for the feature of a modality outside a coalition, in `evaluate` and `contributions`: zero, as
    published, or the mean feature over training samples. While training it is always zero."""
    samples_per_epoch: int = Field(default=512, ge=0)
    """Training samples per epoch whose features are reused to measure contribution; 0 switches it off."""
    bootstrap: int = Field(default=1000, ge=0)
    """Resamples of the subjects behind each interval."""


class TrainSettings(Settings):
    """The loop."""

    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=64, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["step", "cosine", "constant"] = "step"
    """step: times 0.1 after 60 % of the epochs, as published; cosine: 5 % warm-up, then to zero."""
    clip_norm: float = Field(default=0.0, ge=0)
    """Largest gradient norm; 0 means no clipping."""
    loss: Literal["mpjpe", "mse"] = "mpjpe"
    loss_unit: Literal["m", "mm"] = "m"
    seed: int = Field(default=0, ge=0, lt=2**63)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(default=1, ge=1)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    """A checkpoint is written at every epoch's end and at least this often in between."""
    probe_samples: int = Field(default=128, ge=1)
    """Size of the fixed random part of the training split on which strategies measure (Fisher information)."""


class Recipe(Settings):
    """Everything a run needs besides the data folder."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    balance: BalanceSettings = BalanceSettings()
    contribution: ContributionSettings = ContributionSettings()
    train: TrainSettings = TrainSettings()


def load_recipe(path: Path | None, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe and apply ``key=value`` overrides such as ``train.epochs=5``, see ``load_settings``."""
    return load_settings(Recipe, path, overrides)


def load_settings(kind: type[T], path: Path | None, overrides: Iterable[str] = ()) -> T:
    """Read settings of any kind and apply ``key=value`` overrides.

    Args:
        kind: what the file describes.
        path: a YAML file, or None for the defaults.
        overrides: dotted keys with YAML values; later ones win.

    Raises:
        UsageError: naming every problem at once, with the nearest known name for a typo.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = _read_yaml(path)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise UsageError(f"found {override!r}, expected KEY=VALUE such as train.epochs=5")
        _assign(values, key.split("."), _parse_value(key, text))
    return validate(kind, values, f"recipe {path}" if path else "settings")


def validate(model: type[T], values: Any, where: str) -> T:
    """Build ``model`` from plain values, with every problem in one UsageError."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors()]
        raise UsageError(f"{where} has {len(lines)} problem(s):\n  " + "\n  ".join(lines)) from None


def dump_yaml(settings: BaseModel) -> str:
    """The settings as YAML, in field order."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=110)


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"no recipe at {path}: expected a YAML file; `equipose config show` prints one to start from")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds {type(values).__name__}, expected a mapping such as `train: {{epochs: 5}}`")
    return values


def _parse_value(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"the value of {key} is not valid YAML: {text!r}") from None


def _assign(values: dict[str, Any], keys: list[str], value: Any) -> None:
    for i, key in enumerate(keys[:-1]):
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise UsageError(f"{'.'.join(keys[: i + 1])} is a value, not a group of settings")
    values[keys[-1]] = value


def _explain(model: type[BaseModel], problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    path = ".".join(location) or "(top)"
    if problem["type"] == "value_error":  # one of ours: it says what was found
        return f"{path}: {problem['msg'].removeprefix('Value error, ')}"
    if problem["type"] != "extra_forbidden":
        return f"{path}: {problem['msg']} (found {problem['input']!r})"
    owner: Any = model
    for part in location[:-1]:
        field = getattr(owner, "model_fields", {}).get(part)
        owner = field.annotation if field else None
    known = list(getattr(owner, "model_fields", {}))
    close = difflib.get_close_matches(location[-1], known, n=1)
    names = f"Known here: {', '.join(known)}." if known else "There are none here."
    hint = f" Did you mean {'.'.join([*location[:-1], close[0]])}?" if close else f" {names}"
    return f"{path}: unknown setting.{hint}"


def choose(kind: str, name: str, known: Iterable[str]) -> str:
    """``name`` if it is known, else a UsageError with the nearest one."""
    known = list(known)
    if name not in known:
        raise unknown_name(kind, name, known)
    return name
