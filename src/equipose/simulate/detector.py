"""Errors of a 2D joint detector: noise, motion blur, left and right swapped, joints missed, a confidence per joint.

Sizes come from COCO's object keypoint similarity (cocodataset.org/#keypoints-eval): ``SIGMAS`` is the root mean square
distance between people who annotate the same joint, divided by the square root of the person's area (that reading of
the word sigma is unverified). Kinds and rates follow Ronchi and Perona, "Benchmarking and error diagnosis in
multi-instance pose estimation" (ICCV 2017), in the tabulated form of Moon et al., PoseFix (CVPR 2019; read in a port of
its code). That most of the error stays for a whole recording is a choice: a detector places a joint under the same
clothes in the same wrong way.

The network finds COCO's joints. Pelvis, spine and thorax are computed from hips and shoulders, and err with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from equipose.skeleton import H36M17

REFERENCE_DISTANCE = 3.2
"""Metres; pixel errors are stated for a person here and grow towards the camera."""

# fmt: off
SIGMAS = np.array([0.076, 0.107, 0.087, 0.089, 0.107, 0.087, 0.089, 0.047, 0.056, 0.026, 0.035,
                   0.079, 0.072, 0.062, 0.079, 0.072, 0.062])
"""COCO's sigma of each joint; the face takes the nose's, the head the ears', derived joints what follows."""
_MISS = np.array([0.00, 0.10, 0.10, 0.05, 0.10, 0.10, 0.05, 0.00, 0.00, 0.02, 0.02,
                  0.05, 0.10, 0.10, 0.05, 0.10, 0.10])
"""Share of missed joints (PoseFix, people with more than ten annotated joints); the derived are never missed."""
_MISS_HIDDEN = np.array([0.00, 0.25, 0.25, 0.20, 0.25, 0.25, 0.20, 0.00, 0.00, 0.15, 0.15,
                         0.20, 0.25, 0.25, 0.20, 0.25, 0.25])
"""The same for people with at most five visible joints."""
_SWAP = np.array([0.00, 0.06, 0.06, 0.06, 0.06, 0.06, 0.06, 0.00, 0.00, 0.00, 0.00,
                  0.03, 0.03, 0.03, 0.03, 0.03, 0.03])
"""Share of joints that sit on the other side's joint (PoseFix: lower body 6 %, upper body 3 %)."""
_LIMB = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
"""Legs and arms; the joints of a limb tend to swap together."""
# fmt: on
_MIRROR = np.array(H36M17.mirror)
_PARENTS = np.array(H36M17.parents)
_KS50, _KS10 = 2 * np.sqrt(2 * np.log(2.0)), 2 * np.sqrt(2 * np.log(10.0))
"""Distances in sigma at which the keypoint similarity is 0.5 and 0.1: where Ronchi and Perona's misses lie."""


@dataclass(frozen=True)
class Detector:
    """Errors of the 2D joint detector.

    Attributes:
        scale: square root of a person's area at 3.2 m, pixels. Median silhouette of simulated people: 136 to 138.
        sharpness: the detector's spread over that of single annotators, whom it averages. 0.5 puts 40 % of the joints
            that are not missed within a tenth of a head (3.4 pixels at 3.2 m), and so 34 to 38 % of all, as networks of
            this kind do on MPII (PCKh@0.1; Sun et al., HRNet, CVPR 2019, and its repository).
        constant: share of a visible joint's error variance that stays for a whole recording (choice).
        correlation: of the rest, from one frame to the next at 10 Hz (choice).
        hidden_factor: how much larger the rest is for an occluded joint (choice).
        blur: share of a motion streak's spread that becomes error. A joint found anywhere in a streak of length L is
            off by L / sqrt(12).
        easy: share of the published misses that a visible, still joint of one person in a room suffers (choice: those
            people are in crowds, cut off and small).
        misses: factor on all misses.
        swaps: factor on all swaps.
        event: mean duration of a swap or a miss, frames (choice).
        unsure: share of misses that show in the confidence (choice; heatmap peaks are poorly calibrated, Gu et al.,
            ICML 2024).
    """

    scale: float = 136.0
    sharpness: float = 0.5
    constant: float = 0.5
    correlation: float = 0.6
    hidden_factor: float = 4.0
    blur: float = 1.0
    easy: float = 0.1
    misses: float = 1.0
    swaps: float = 1.0
    event: float = 3.0
    unsure: float = 0.8

    @property
    def spread(self) -> Float[np.ndarray, " 17"]:
        """Standard deviation per axis of a visible joint's whole error, pixels at 3.2 m."""
        return self.sharpness * SIGMAS * self.scale / np.sqrt(2.0)


PERFECT = Detector(scale=0.0, blur=0.0, misses=0.0, swaps=0.0)
"""A detector that gives the projection."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector says of one recording.

    Attributes:
        pixels: u right, v down; may lie outside the image.
        confidence: 0 to 1, informative and imperfect, as the peak of a heatmap is.
    """

    pixels: Float32[np.ndarray, "time 17 2"]
    confidence: Float32[np.ndarray, "time 17"]


@dataclass(frozen=True, eq=False)
class Sight:
    """What the camera sees of a person; decides what goes wrong.

    Attributes:
        pixels: exact projection.
        zoom: 3.2 m over the joint's distance.
        streak: motion during the exposure, pixels.
        hidden: behind another limb.
        facing: cosine between the hips' forward direction and the direction to the camera: 1 front, 0 side, -1 back.
        dimness: the room's factor on the noise.
    """

    pixels: Float[np.ndarray, "time 17 2"]
    zoom: Float[np.ndarray, "time 17"]
    streak: Float[np.ndarray, "time 17 2"]
    hidden: Bool[np.ndarray, "time 17"]
    facing: Float[np.ndarray, " time"]
    dimness: float


def systematic_error(generator: np.random.Generator, detector: Detector | None = None) -> Float[np.ndarray, "17 2"]:
    """The error that stays for a whole recording, pixels at 3.2 m.

    Args:
        generator: of the recording; labels that are made from the same images share it.
        detector: its sizes.
    """
    detector = detector or Detector()
    error = generator.standard_normal((17, 2)) * (np.sqrt(detector.constant) * detector.spread)[:, None]
    return _with_derived(error)


def detections(
    sight: Sight,
    generator: np.random.Generator,
    detector: Detector,
    systematic: Float[np.ndarray, "17 2"],
) -> Detections:
    """Let a detector loose on what the camera sees.

    Args:
        sight: the truth.
        generator: source of the errors.
        detector: their sizes.
        systematic: pixels at 3.2 m, see ``systematic_error``.
    """
    pixels, shape = sight.pixels, sight.pixels.shape
    white = generator.standard_normal(shape)
    blurred = generator.standard_normal(shape[:2])
    chance = generator.random((5, *shape[:2]))
    limb = generator.random((shape[0], 2))
    unit = np.maximum(detector.scale * SIGMAS * sight.zoom, 1e-9)  # one COCO sigma of this person, pixels

    sigma = np.sqrt((1 - detector.constant) / 2) * detector.sharpness * sight.dimness * unit
    sigma = np.where(sight.hidden, detector.hidden_factor, 1.0) * sigma
    smooth = _correlated(white, detector.correlation)
    error = smooth * sigma[..., None] + (detector.blur / np.sqrt(12.0) * blurred)[..., None] * sight.streak

    blur = np.minimum(np.hypot(*np.moveaxis(sight.streak, -1, 0)) / unit, 1.0)
    swapped = _swapped(sight, detector, unit, limb, chance[0])
    other = pixels[:, _MIRROR] - pixels
    error += np.where(swapped[..., None], other, 0.0)

    plain = _MISS * (detector.easy + (1 - detector.easy) * blur)
    share = detector.misses * np.where(sight.hidden, _MISS_HIDDEN, plain)
    missed, since = _events(share, chance[1], chance[2], detector.event)
    error = np.where(missed[..., None], _elsewhere(pixels, unit, chance[3:], since), error)

    error = _with_derived(error) + systematic * sight.zoom[..., None]
    confidence = _confidence(sight, generator, detector, blur, smooth, swapped, missed)
    return Detections((pixels + error).astype(np.float32), confidence.astype(np.float32))


def _with_derived(error: np.ndarray) -> np.ndarray:
    """Pelvis, thorax and spine take the mean of hips and shoulders."""
    error = error.copy()
    error[..., 0, :] = (error[..., 1, :] + error[..., 4, :]) / 2
    error[..., 8, :] = (error[..., 11, :] + error[..., 14, :]) / 2
    error[..., 7, :] = (error[..., 0, :] + error[..., 8, :]) / 2
    return error


def _correlated(white: np.ndarray, correlation: float) -> np.ndarray:
    """A first-order autoregression of variance 1."""
    smooth = np.sqrt(1 - correlation**2) * white
    smooth[0] = white[0]
    for t in range(1, len(smooth)):
        smooth[t] += correlation * smooth[t - 1]
    return smooth


def _swapped(
    sight: Sight, detector: Detector, unit: np.ndarray, limb: np.ndarray, chance: np.ndarray
) -> Bool[np.ndarray, "time 17"]:
    """Joints found at the other side's joint, for some frames in a row.

    The published share is taken as that of half unclear views; the view is the less clear, the more the person turns
    away, the closer the two joints are in the image, and if one of them is hidden.
    """
    distance = np.linalg.norm(sight.pixels[:, _MIRROR] - sight.pixels, axis=-1)
    unclear = (1 - sight.facing[:, None]) / 2 + np.exp(-0.5 * (distance / (2 * unit)) ** 2)
    unclear += 0.5 * (sight.hidden | sight.hidden[:, _MIRROR])
    share = np.minimum(2 * detector.swaps * _SWAP * np.minimum(unclear, 1.0), 0.5)
    share = np.minimum(share, share[:, _MIRROR])
    # One draw per limb, so that hip, knee and ankle swap together; both sides share their duration.
    duration = chance[:, np.minimum(np.arange(17), _MIRROR)]
    return _events(share, limb[:, _LIMB], duration, detector.event)[0]


def _events(
    share: np.ndarray, start: np.ndarray, duration: np.ndarray, mean: float
) -> tuple[Bool[np.ndarray, "time 17"], np.ndarray]:
    """Events that cover ``share`` of the frames and last ``mean`` frames (geometric), and the frame each began in.

    Args:
        share: per frame and joint.
        start: uniform numbers that decide whether an event begins.
        duration: uniform numbers that decide how long it lasts.
        mean: frames.
    """
    frame = np.arange(len(share))[:, None]
    begins = start < -np.log1p(-share) / mean  # overlapping events cover 1 - exp(-rate x duration)
    begins[0] = start[0] < share[0]  # it may have begun before the recording
    lasts = 1 + np.floor(np.log(np.maximum(duration, 1e-300)) / np.log(max(1 - 1 / mean, 1e-300)))
    over = np.maximum.accumulate(np.where(begins, frame + lasts, 0), axis=0)
    return over > frame, np.maximum.accumulate(np.where(begins, frame, 0), axis=0)


def _elsewhere(pixels: np.ndarray, unit: np.ndarray, chance: np.ndarray, since: np.ndarray) -> np.ndarray:
    """Error of a missed joint: another blob near it, or near its parent or its mirror joint, as in PoseFix."""
    which, where = (np.take_along_axis(values, since, axis=0) for values in chance)
    radius = unit * (_KS50 + (_KS10 - _KS50) * (4 * which % 1))
    angle = 2 * np.pi * where
    ring = radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    parent, mirror = pixels[:, _PARENTS] - pixels, pixels[:, _MIRROR] - pixels
    near = np.where((which < 0.75)[..., None], parent, mirror)
    return np.where((which < 0.5)[..., None], ring, near + 0.25 * ring)


def _confidence(
    sight: Sight,
    generator: np.random.Generator,
    detector: Detector,
    blur: np.ndarray,
    smooth: np.ndarray,
    swapped: np.ndarray,
    missed: np.ndarray,
) -> Float[np.ndarray, "time 17"]:
    """Height of the joint's peak. All weights are choices: about 0.9 for a clear joint, 0.7 hidden, 0.5 missed."""
    noise = generator.standard_normal(missed.shape)
    noticed = missed & (generator.random(missed.shape) < detector.unsure)
    logit = 3.0 + 0.5 * noise - 0.4 * np.hypot(*np.moveaxis(smooth, -1, 0)) - 1.5 * (sight.dimness - 1)
    logit -= 1.5 * sight.hidden + 1.0 * blur + 0.7 * swapped + 2.5 * noticed
    confidence = 1 / (1 + np.exp(-logit))
    confidence[:, 0] = np.minimum(confidence[:, 1], confidence[:, 4])
    confidence[:, 8] = np.minimum(confidence[:, 11], confidence[:, 14])
    confidence[:, 7] = np.minimum(confidence[:, 0], confidence[:, 8])
    return confidence
