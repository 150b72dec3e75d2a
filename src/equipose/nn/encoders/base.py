"""What an encoder is: a network that turns one sensor's window into one feature vector per sample.

Every encoder class is built in the same way::

    Encoder(spec, layout, width, settings)

and offers

- ``kinds``: the ``ModalitySpec.kind`` values it can read,
- ``Settings``: its own settings, and ``preset(size, spec)``: the settings of a named size, ``small`` or ``paper``,
- ``forward(Dense)`` or ``forward(Cloud)`` -> (batch, width) float32, finite for every input, empty windows and
  empty clouds too. Samples never influence each other, and no buffer changes in ``forward``.

``small`` has no BatchNorm, no dropout and no step that depends on values through Python, so ``torch.func.vmap``
gives per-sample gradients. ``paper`` follows the published networks' widths and depths with LayerNorm or GroupNorm in
the place of BatchNorm. That is a named deviation: with BatchNorm the feature of one sample would depend on the rest of
its batch, and contribution and Fisher information of a sample would not be defined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jaxtyping import Bool, Float
from torch import Tensor, nn

from equipose.config import Settings
from equipose.errors import UsageError
from equipose.modality import Kind, ModalitySpec

Size = Literal["small", "paper"]

DEFAULT_ENCODER: dict[Kind, str] = {
    "joints2d": "temporal_conv",
    "cloud": "point_transformer",
    "csi": "csi_network",
    "depth": "depth_network",
}
"""Encoder name for each kind of sensor, where the settings name no other."""


TYPICAL_CENTRE = (0.0, 0.0, 3.0)
"""Metres, camera frame: where the person stands when no mean pose is given."""


@dataclass(frozen=True)
class InputLayout:
    """What is known about a sensor's input before any data.

    Attributes:
        window: most frames per sample (``DataSettings.windows``). Shorter windows are padded with invalid frames.
        shape: shape of one frame; for a cloud ``(channels,)``, with the time channel.
        centre: (x, y, z) metres, camera frame: the middle of the mean training pose, from which clouds and depth
            are measured.
    """

    window: int
    shape: tuple[int, ...]
    centre: tuple[float, float, float] = TYPICAL_CENTRE


class EncoderClass(Protocol):
    """The constructor side of an encoder, as the registry holds it."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """Kinds of sensor it can read."""

    def __call__(self, spec: ModalitySpec, layout: InputLayout, width: int, settings: Any) -> nn.Module:
        """Build the network with freshly drawn weights."""

    def preset(self, size: Size, spec: ModalitySpec) -> Settings:
        """Settings of a named size for one sensor."""


def fit_window(
    values: Float[Tensor, "batch time *shape"], valid: Bool[Tensor, "batch time"], window: int
) -> tuple[Float[Tensor, "batch window *shape"], Bool[Tensor, "batch window"]]:
    """Centre a window in ``window`` frames; the frames around it are invalid and zero.

    Raises:
        UsageError: if there are more frames than the network was built for.
    """
    time = valid.shape[1]
    if time > window:
        raise UsageError(
            f"found a window of {time} frames, but the encoder was built for at most {window}; "
            f"build the model with windows={{modality: {time}}} or set data.windows to {window} frames or fewer"
        )
    shape = values.shape[2:]
    missing = window - time
    if missing == 0:
        return values, valid
    before = missing // 2
    padding = (before, missing - before)
    values = nn.functional.pad(values, (0, 0) * len(shape) + padding)
    return values, nn.functional.pad(valid, padding)
