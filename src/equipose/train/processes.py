"""Devices, precision and processes: a thin view of Lightning Fabric.

Gradients are averaged by us in one bucket after backward, instead of by a wrapper around the model: so strategies may
run several backward passes and edit gradients that are already averaged, and ``encode`` and ``decode`` stay plain
methods.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from equipose.config import TrainSettings
from equipose.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of one run; with one process every collective is the identity."""

    fabric: Any

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.fabric.device

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self.fabric.global_rank

    @property
    def world(self) -> int:
        """How many processes there are."""
        return self.fabric.world_size

    def autocast(self) -> AbstractContextManager[Any]:
        """Context in which the network runs in the chosen precision."""
        return self.fabric.autocast()

    def mean(self, tensor: Tensor) -> Tensor:
        """Mean over processes."""
        return self.fabric.all_reduce(tensor, reduce_op="mean") if self.world > 1 else tensor

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over processes."""
        return self.fabric.all_reduce(tensor, reduce_op="sum") if self.world > 1 else tensor

    def broadcast(self, value: T) -> T:
        """The value of process 0."""
        return self.fabric.broadcast(value) if self.world > 1 else value

    def barrier(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            self.fabric.barrier()

    def average_gradients(self, parameters: list[torch.nn.Parameter], stop: bool) -> bool:
        """Average all gradients over the processes, in place, in one message.

        Args:
            parameters: the same list in every process.
            stop: whether this process was asked to stop; travels in the same message.

        Returns:
            Whether any process was asked to stop.
        """
        if self.world == 1:
            return stop
        gradients = [p.grad for p in parameters if p.grad is not None]
        flag = torch.tensor([float(stop)], device=self.device)
        bucket = self.mean(torch.cat([*(g.reshape(-1) for g in gradients), flag]))
        start = 0
        for gradient in gradients:
            gradient.copy_(bucket[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()
        return bool(bucket[-1] > 0)


def launch(settings: TrainSettings) -> Processes:
    """Start the run's processes: this one, ``--devices`` of them, or those torchrun made.

    Raises:
        UsageError: no such accelerator here, or the batch cannot be divided.
    """
    world = int(os.environ.get("WORLD_SIZE", settings.devices))
    if settings.batch_size % world:
        raise UsageError(
            f"batch_size {settings.batch_size} cannot be divided among {world} processes; "
            f"try --batch-size {-(-settings.batch_size // world) * world}"
        )
    if settings.accelerator == "gpu" and not torch.cuda.is_available():
        raise UsageError("--accelerator gpu: torch finds no GPU here; use --accelerator cpu or auto")
    from lightning_fabric import Fabric  # takes seconds to import

    on_gpu = settings.accelerator != "cpu" and torch.cuda.is_available()
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", settings.devices)),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", 1)),
        strategy="ddp" if world > 1 else "auto",
        precision=settings.precision,
    )
    if world > 1:
        fabric.launch()
    return Processes(fabric)
