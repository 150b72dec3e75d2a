"""Statistics of 2D joints: what a window of pixels says about itself.

Lengths are in units of the person's size in the image, so they do not depend on the distance to the camera or on where
the person is. The size is sixteen times the median bone; the joints are those of ``H36M17``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from equipose.separation.signal_statistic import Statistic, log_of
from equipose.skeleton import H36M17
from equipose.types import Dense

JOINT_STATISTICS = (
    Statistic("noise", "log of person sizes", 1, 0.15),
    Statistic("noise_window", "log of person sizes", 1, 0.15),
    Statistic("crossing", "person sizes", 1, 0.05),
    Statistic("missing", "joints", 1, 0.25, relative=False),
    Statistic("held", "frames", 1, 0.2, relative=False),
    Statistic("longest_bone", "log of person sizes", 1, 0.05),
    Statistic("jump", "log of person sizes", 1, 0.2),
)
"""In the order of ``joint_statistics``."""

_LINKS = tuple(
    ((p, c), (H36M17.mirror[p], H36M17.mirror[c]))
    for p, c in H36M17.bones
    if H36M17.mirror[c] != c and H36M17.mirror[p] != p and c < H36M17.mirror[c]
)
_BINOMIAL = {1: (-1.0, 1.0), 2: (1.0, -2.0, 1.0), 3: (-1.0, 3.0, -3.0, 1.0), 4: (1.0, -4.0, 6.0, -4.0, 1.0)}
_SMALLEST = 1e-4
"""Person sizes; below what a detector resolves."""


def joint_statistics(window: Dense, frame: Int[Tensor, " batch"]) -> Float[Tensor, "batch statistic"]:
    """``JOINT_STATISTICS`` of a window of pixels (batch, time, 17, 2).

    ``noise``: lower quartile over joints of the fourth difference in time about the own frame (the others move, noise
    hits all); ``noise_window``: median of that over the window. ``crossing``: how much shorter limb bones would be with
    left and right exchanged at one end, median over the window; so is ``longest_bone``. ``missing``: joints at (0, 0).
    ``held``: neighbours equal to the own frame. ``jump``: step of the median joint to a neighbour.

    A bone crossed by less than its length is natural, hence the floor of ``crossing``. That a person turns or comes
    nearer is no fault, so signs of hips and shoulders and the size of the person are not among them.

    Args:
        window: pixels; other joint counts than 17 give NaN.
        frame: number of each sample's frame; before number 1 the window repeats it.

    Returns:
        float64; NaN where the own frame is not there, or a neighbour is needed and there is none.
    """
    values, valid = window.values.double(), window.valid
    out = values.new_full((len(values), len(JOINT_STATISTICS)), torch.nan)
    if values.shape[2:] != (len(H36M17), 2) or not len(values):
        return out
    middle = values.shape[1] // 2
    own, recorded = values[:, middle], valid[:, middle]
    missing = (own == 0).all(-1).sum(1).double()
    size = _size(values, valid)
    unit = size[:, None].clamp(min=1.0)
    noise, noise_window = _noise(values, valid, unit)
    columns = (
        log_of(noise, _SMALLEST),
        log_of(noise_window, _SMALLEST),
        _in_window(_crossing(values, unit), valid),
        missing,
        _held(values, valid, frame),
        _in_window(_longest(values, unit), valid),
        log_of(_jump(values, valid, unit), 10 * _SMALLEST),
    )
    return torch.where(recorded[:, None], torch.stack(columns, 1), torch.nan)


def _size(values: Tensor, valid: Tensor) -> Float[Tensor, " batch"]:
    """Sixteen times the median bone, median over recorded frames; pixels."""
    lengths = torch.stack([_length(values, p, c) for p, c in H36M17.bones], -1)
    typical = lengths.median(-1).values * lengths.shape[-1]  # a few lost joints do not change a median bone
    masked = torch.where(valid, typical, torch.nan)
    return masked.nanmedian(1).values


def _noise(values: Tensor, valid: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """High-pass in time, lower quartile over joints: about the own frame, and mean over the window."""
    time = values.shape[1]
    order = min(4, (time - 1) // 2 * 2 if time > 2 else time - 1)
    if order < 1:
        nothing = values.new_full((len(values),), torch.nan)
        return nothing, nothing
    taps = torch.tensor(_BINOMIAL[order], dtype=values.dtype, device=values.device)
    taps = taps / taps.norm()
    parts = values.unfold(1, order + 1, 1) @ taps
    known = valid.unfold(1, order + 1, 1).all(-1)
    size = parts.norm(dim=-1) / unit[..., None]
    quiet = torch.where(known, size.quantile(0.25, dim=-1), torch.nan)
    return quiet[:, quiet.shape[1] // 2], quiet.nanmedian(1).values


def _in_window(parts: Tensor, valid: Tensor) -> Float[Tensor, " batch"]:
    """Median over the recorded frames: a detector's own slips are shorter than half a window."""
    return torch.where(valid, parts, torch.nan).nanmedian(1).values


def _crossing(values: Tensor, unit: Tensor) -> Float[Tensor, "batch time"]:
    """Largest gain in length by exchanging the sides at one end of a pair of limb bones; NaN without a whole pair."""
    found = (values != 0).any(-1)
    gains = []
    for (p, c), (q, d) in _LINKS:
        straight = _length(values, p, c) + _length(values, q, d)
        across = _length(values, p, d) + _length(values, q, c)
        there = found[..., p] & found[..., c] & found[..., q] & found[..., d]
        gains.append(torch.where(there, (straight - across) / unit, -torch.inf))
    most = torch.stack(gains, -1).amax(-1)
    return most.masked_fill(most.isinf(), torch.nan)


def _longest(values: Tensor, unit: Tensor) -> Float[Tensor, "batch time"]:
    """Log of the longest bone of every frame."""
    return log_of(torch.stack([_length(values, p, c) for p, c in H36M17.bones], -1).amax(-1) / unit, _SMALLEST)


def _length(values: Tensor, a: int, b: int) -> Float[Tensor, "batch time"]:
    return (values[:, :, a] - values[:, :, b]).norm(dim=-1)


def _held(values: Tensor, valid: Tensor, frame: Tensor) -> Float[Tensor, " batch"]:
    """Frames next to the own one that equal it bit for bit, not counting those beyond the recording's ends.

    Equal frames up to the end of the window alone may be the end of the recording, so they do not count.
    """
    middle, time = values.shape[1] // 2, values.shape[1]
    equal = (values == values[:, middle : middle + 1]).flatten(2).all(-1) & valid
    past = torch.zeros_like(frame)
    run = torch.ones_like(equal[:, 0])
    for step in range(1, middle + 1):
        run = run & equal[:, middle - step] & (frame > step)
        past = past + run
    ahead = torch.zeros_like(frame)
    run = torch.ones_like(equal[:, 0])
    for step in range(1, time - middle):
        run = run & equal[:, middle + step]
        ahead = ahead + run
    return (past + torch.where(run, 0, ahead)).double()


def _jump(values: Tensor, valid: Tensor, unit: Tensor) -> Float[Tensor, " batch"]:
    """Largest step of the median joint from the own frame to a neighbour."""
    middle = values.shape[1] // 2
    centre = values.median(2).values
    steps = []
    for other in (middle - 1, middle + 1):
        if 0 <= other < values.shape[1]:
            step = (centre[:, other] - centre[:, middle]).norm(dim=-1) / unit[:, 0]
            steps.append(torch.where(valid[:, other], step, torch.nan))
    if not steps:
        return values.new_full((len(values),), torch.nan)
    stacked = torch.stack(steps, 1)
    return torch.where(stacked.isnan().all(1), torch.nan, stacked.nan_to_num(0.0).amax(1))
