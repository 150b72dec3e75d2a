"""Joint training: every sensor, one loss, nothing balanced. The baseline every strategy is compared with."""

from __future__ import annotations

from equipose.balance.base import BalanceStrategy


class Joint(BalanceStrategy):
    """Minimise the pose error of the fused prediction, and nothing else."""
