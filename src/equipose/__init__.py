"""equipose: balanced multi-modal 3D human pose.

Measure what each sensor contributes, and train so that every sensor counts. Names below load on first use, so that
``import equipose`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Recipe": "equipose.config",
    "load_recipe": "equipose.config",
    "Batch": "equipose.types",
    "PoseOutput": "equipose.types",
    "LossTerms": "equipose.types",
    "all_coalitions": "equipose.types",
    "datasets": "equipose.data.dataset",
    "open_store": "equipose.data.store",
    "PoseModel": "equipose.nn.model",
    "build_model": "equipose.nn.model",
    "shapley_of": "equipose.contribution.game",
    "adapt": "equipose.nn.foreign",
    "Balancer": "equipose.balance.balancer",
    "shapley_values": "equipose.contribution.shapley",
    "interactions": "equipose.contribution.shapley",
    "measure": "equipose.contribution.measure",
    "diagonal_fisher": "equipose.fisher",
    "mpjpe": "equipose.metrics.pose",
    "pa_mpjpe": "equipose.metrics.pose",
    "BalanceStrategy": "equipose.balance.base",
    "train": "equipose.train.fit",
    "resume": "equipose.train.fit",
    "evaluate": "equipose.train.evaluate",
    "RunDir": "equipose.train.run_dir",
    "Learner": "equipose.train.learner",
    "LiveRecipe": "equipose.train.live_recipe",
    "write_report": "equipose.report.page",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'equipose' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
