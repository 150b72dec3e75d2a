"""Settings of the separation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from equipose.config import Settings


class SeparationSettings(Settings):
    """How noisy sensor cells and labels are found, and what is done with them."""

    method: Literal["conformal", "gmm_gate", "gmm", "z3"] = "conformal"
    """conformal: rank among trusted clean samples, whose false-alarm rate is known; without enough of them gmm_gate is
    used. gmm_gate: two-component mixture that may decide only where two components are really there. gmm and z3
    (mixture without gate, three robust standard deviations): for comparison."""
    readout: Literal["fusion", "ridge"] = "fusion"
    """What a sensor says alone. fusion: the model's answer with the others masked, for models trained to give it
    (`every_subset`, modality dropout). ridge: a linear map from its feature, fitted on the other half of the
    recordings, for any model; the half that a label is in has never seen it."""
    every: int = Field(default=2, ge=1)
    """Epochs from one scoring to the next."""
    warm_up: int = Field(default=1, ge=1)
    """Epochs of each experience in which nothing is flagged but what needs no learning."""
    until: int | None = Field(default=None, ge=1)
    """Epoch of an experience from which verdicts stay as they are; a model that has memorised wrong labels no longer
    sees them. None: never."""
    memory: float = Field(default=0.5, ge=0, lt=1)
    """Weight of the earlier passes in the running mean of predictions and feature distances."""
    alpha: float = Field(default=0.01, gt=0, lt=1)
    """Largest p-value of a sensor cell that is flagged for what the network says: the share of clean cells flagged by
    chance."""
    label_alpha: float = Field(default=0.01, gt=0, lt=1)
    """The same for labels."""
    signal_alpha: float = Field(default=0.01, ge=0, lt=1)
    """Share of clean cells flagged by chance for what their signal shows, without a network, beside ``alpha``: half of
    it for the sensor's own signal and half for its fit with the label, where there are both; half of it for a label's
    bones. 0: the network alone decides."""
    odd_factor: float = Field(default=1.5, gt=0)
    """The feature's p-value is multiplied by this, so that it counts less than error and disagreement."""
    contribution: bool = True
    """Whether the sensor's Shapley contribution to its sample counts beside error and disagreement."""
    neighbours: int = Field(default=10, ge=1)
    """Neighbours of the feature distance."""
    calibration: int = Field(default=300, ge=2)
    """Trusted samples used, evenly spaced; all if fewer."""
    rounds: int = Field(default=3, ge=1)
    """How often the consensus is computed again without the flagged cells."""
    in_time: Literal["auto", "on", "off"] = "auto"
    """Median filter of flags over neighbouring frames of a recording. auto: as wide as flags are found to persist, so
    that corruption of single frames is not filtered away."""
    frames: int = Field(default=5, ge=1)
    """Largest half width of that filter."""
    shift: float = Field(default=0.6, gt=0, le=1)
    """A sensor of which more than this share would be flagged has changed as a whole: reported, not flagged."""
    bad_label: Literal["replace", "down_weight"] = "replace"
    """replace: the target becomes what the clean sensors say, with weight ``replaced_weight`` * (1 - w).
    down_weight: the label stays, with weight w. w is the probability that the label is clean."""
    replaced_weight: float = Field(default=0.5, ge=0, le=1)
    """Largest weight of a replaced label."""
    batch_size: int = Field(default=256, ge=1)
    """Samples encoded at once while scoring."""
