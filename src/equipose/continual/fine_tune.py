"""Fine-tuning: go on training on every new experience and keep nothing."""

from __future__ import annotations

from equipose.continual.base import ContinualStrategy


class FineTune(ContinualStrategy):
    """Train on each experience in turn, with nothing that keeps the earlier ones.

    ::

        L = L_pose

    The lower bound that every other strategy must beat, and what each of them is at strength zero.
    Source: our own wording of common practice. No settings.
    """
