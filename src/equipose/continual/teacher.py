"""A frozen copy of the model as it was when the last experience ended."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from equipose.continual.weights import bytes_of
from equipose.nn.model import PoseModel


class Teacher:
    """The copy, in evaluation mode and without gradients; ``ready`` once it has something to teach."""

    def __init__(self, model: PoseModel) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.ready = False

    def learn(self, model: PoseModel) -> None:
        """Become the model as it is now."""
        self.model.load_state_dict(model.state_dict())
        self.ready = True

    def memory_bytes(self) -> int:
        """Size of the copy."""
        return bytes_of([*self.model.parameters(), *self.model.buffers()])

    def state_dict(self) -> dict[str, Any]:
        """The copy's weights, once it is ready."""
        weights: dict[str, Tensor] = {name: t.clone() for name, t in self.model.state_dict().items()}
        return {"ready": self.ready, "model": weights if self.ready else {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.ready = state["ready"]
        if self.ready:
            self.model.load_state_dict(state["model"])
