"""Why a sensor cell or a label is set aside, as small integers with a table of words."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """What was found about one sensor cell (a sample's reading of one sensor), or about one label."""

    CLEAN = 0
    ABSENT = 1
    EMPTY = 2
    NOT_FINITE = 3
    ZERO = 4
    CONSTANT = 5
    STALE = 6
    DEAD_CHAIN = 7
    FAR = 8
    ODD = 9
    IN_TIME = 10
    QUARANTINE = 11
    LOOK_AGAIN = 12
    SHIFT = 13
    LABEL = 14
    HARM = 15
    SIGNAL = 16
    MISFIT = 17
    UNRECORDED = 18


WORDS: dict[Reason, str] = {
    Reason.CLEAN: "nothing found",
    Reason.ABSENT: "the sensor did not record",
    Reason.EMPTY: "no point in the cloud",
    Reason.UNRECORDED: "the frame itself is missing, others of its window are there",
    Reason.NOT_FINITE: "a value that is not finite",
    Reason.ZERO: "all values zero",
    Reason.CONSTANT: "values that do not vary",
    Reason.STALE: "equal to the previous frame",
    Reason.DEAD_CHAIN: "a receiver that measures nothing",
    Reason.FAR: "far from the other sensors and from the label",
    Reason.ODD: "a feature unlike those of trusted samples",
    Reason.IN_TIME: "most frames around it are set aside",
    Reason.QUARANTINE: "no two sources agree: out of training until looked at again",
    Reason.LOOK_AGAIN: "one sensor near the label and far from the others, which agree: kept, looked at again",
    Reason.SHIFT: "nearly all of this sensor would be set aside: a change of the sensor or the place, kept",
    Reason.HARM: "makes the sample's answer worse, and is rather far from the other sensors and the label",
    Reason.SIGNAL: "a signal unlike those of trusted samples",
    Reason.MISFIT: "shows another pose than the label and the other sensors",
    Reason.LABEL: "the sensors agree with each other and not with the label",
}
"""Reason -> words for logs and tables."""

INTEGRITY = (
    Reason.EMPTY,
    Reason.UNRECORDED,
    Reason.NOT_FINITE,
    Reason.ZERO,
    Reason.CONSTANT,
    Reason.STALE,
    Reason.DEAD_CHAIN,
)
"""Reasons that need no learning."""

MASKED = (*INTEGRITY, Reason.FAR, Reason.HARM, Reason.ODD, Reason.IN_TIME, Reason.SIGNAL, Reason.MISFIT)
"""Reasons for which a sensor cell is kept out of training, evaluation of contributions, Fisher and memory."""
