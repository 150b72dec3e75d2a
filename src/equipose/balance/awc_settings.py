"""Strength, window and readings of the Adaptive Weight Constraint."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from equipose import config
from equipose.fisher import FisherMethod

DEFAULT_ALPHA = {"scale_free": (40.0, 20.0), "raw": (20_000.0, 10_000.0)}
"""Scaling -> (alpha_superior, alpha_inferior). Raw: as published. Scale-free: the same ratio, and a pull as
large as the per-sample gradient after 0.025 and 0.05, which is 25 and 50 steps of Adam at 1e-3 in one
direction. With the loss in metres and the small networks, sqrt(mean F) is about 0.002, so these equal the
published raw values. By reasoning alone: not tuned to any result."""


class AwcSettings(config.Settings):
    """Strength, window and readings of AWC."""

    alpha_superior: float | None = Field(default=None, ge=0)
    """Strength on superior modalities; None means the default of the chosen scaling."""
    alpha_inferior: float | None = Field(default=None, ge=0)
    """Strength on inferior modalities; None as above."""
    alpha_scaling: Literal["scale_free", "raw"] = "scale_free"
    """scale_free: the same effect in any loss unit. raw: alpha times F as in the paper, in 1 / loss unit; 20
    with the loss in millimetres is 20 000 with the loss in metres."""
    window: float = Field(default=0.4, ge=0, le=1)
    """Share of the epochs, from the start, in which the constraint holds (published: 20 of 50)."""
    window_epochs: int | None = Field(default=None, ge=0)
    """The same as a number of epochs; replaces ``window``."""
    window_end: Literal["fixed", "fisher"] = "fixed"
    """fixed: after ``window``. fisher: when the Fisher trace of the encoders has stopped growing, whatever ``window``
    says: once (T - T') / T < ``window_growth``, T the mean of the last 10 epochs' traces and T' that of the 10 before
    the last one (the test of Huang et al., InfoReg, CVPR 2025)."""
    window_growth: float = Field(default=0.05, ge=0, lt=1)
    """Relative growth of the trace below which ``window_end: fisher`` closes the window (published for InfoReg)."""
    anchor: Literal["epoch", "init"] = "epoch"
    """theta*: the weights at the start of the current epoch, or of training. F is recomputed each epoch
    either way."""
    fisher: FisherMethod = "per_sample"
    """per_sample: exact. loop: exact for models that cannot be vectorised. batch: cheaper, biased."""
    shape: Literal["fisher", "flat"] = "fisher"
    """fisher: each weight is held by its own information. Control: flat gives every weight of an encoder the mean
    of that encoder, a plain L2 pull to the anchor of equal mean stiffness."""
    penalty: Literal["loss", "proximal"] = "loss"
    """loss: a term of the loss. proximal: a step of its own after the optimizer's, which Adam cannot
    normalise away."""
    proximal_rate: float = Field(default=1.0, gt=0, le=1)
    """Largest part of the way back to theta* that one proximal step may go."""
    groups: Literal["kmeans", "continuous", "none", "swapped", "random"] = "kmeans"
    """kmeans: by contribution. continuous: no groups; each strength lies between ``alpha_inferior`` (lowest
    contribution) and ``alpha_superior`` (highest), in proportion. Controls: none puts all in the superior group,
    swapped exchanges the two, random deals the same group sizes by lot each epoch."""
    gap: float = Field(default=0.1, ge=0)
    """For ``continuous``: contributions whose range is at most this share of their mean size count as equal, and all
    sensors get the strength half-way."""
    group_seed: int = 0
    """Seed of random groups."""
