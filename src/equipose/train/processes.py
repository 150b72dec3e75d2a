"""Devices, precision and processes: a thin view of Lightning Fabric.

Gradients are averaged by us in one bucket after backward, instead of by a wrapper around the model: so strategies may
run several backward passes and edit gradients that are already averaged, and ``encode`` and ``decode`` stay plain
methods.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from equipose.config import TrainSettings
from equipose.errors import UsageError
from equipose.threads import keep_freed_memory

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

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of all processes, stacked on a new first axis."""
        stacked = {}
        for name, tensor in tensors.items():
            rows = tensor.new_zeros((self.world, *tensor.shape), device=self.device)
            rows[self.rank] = tensor
            stacked[name] = self.sum(rows)  # of zeros and one number: exact
        return stacked

    def own(self, gathered: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This process's part of gathered sums; with another number of processes, process 0 takes all of them."""
        parts = {name: list(tensor) for name, tensor in gathered.items()}
        if all(len(tensors) == self.world for tensors in parts.values()):
            return {name: tensors[self.rank] for name, tensors in parts.items()}
        return {name: tensor.sum(0) * (self.rank == 0) for name, tensor in gathered.items()}

    def average_gradients(self, parameters: list[torch.nn.Parameter], flags: Sequence[bool]) -> tuple[bool, ...]:
        """Average all gradients over the processes, in place, in one message.

        Args:
            parameters: the same list in every process.
            flags: what this process was asked to do; they travel in the same message.

        Returns:
            For each flag, whether it is set in any process.
        """
        if self.world == 1:
            return tuple(flags)
        gradients = [p.grad for p in parameters if p.grad is not None]
        asked = torch.tensor([float(flag) for flag in flags], device=self.device)
        bucket = self.mean(torch.cat([*(g.reshape(-1) for g in gradients), asked]))
        start = 0
        for gradient in gradients:
            gradient.copy_(bucket[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()
        return tuple((bucket[start:] > 0).tolist())


def compute_device(accelerator: str) -> torch.device:
    """The device that ``train.accelerator`` names: ``auto``, ``cpu`` or ``gpu``.

    Raises:
        UsageError: there is no GPU.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UsageError("train.accelerator is gpu, and torch finds no GPU here; use --accelerator cpu or auto")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def world_size(settings: TrainSettings) -> int:
    """How many processes the run has: ``--devices`` of them, or those torchrun made.

    Raises:
        UsageError: the batch cannot be divided among them.
    """
    world = int(os.environ.get("WORLD_SIZE", settings.devices))
    if settings.batch_size % world:
        raise UsageError(
            f"batch_size {settings.batch_size} cannot be divided among {world} processes; "
            f"try --batch-size {-(-settings.batch_size // world) * world}"
        )
    return world


def launch(settings: TrainSettings) -> Processes:
    """Start the run's processes: this one, ``--devices`` of them, or those torchrun made.

    Raises:
        UsageError: no such accelerator here, or the batch cannot be divided.
    """
    world = world_size(settings)
    device = compute_device(settings.accelerator)
    keep_freed_memory()
    from lightning_fabric import Fabric  # takes seconds to import

    fabric = Fabric(
        accelerator=device.type,
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", settings.devices)),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", 1)),
        strategy="ddp" if world > 1 else "auto",
        precision=settings.precision,
    )
    if world > 1:
        fabric.launch()
    return Processes(fabric)
