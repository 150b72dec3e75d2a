"""One step of the training loop by hand, and two processes in one."""

from __future__ import annotations

import threading
from dataclasses import replace

import torch

from equipose.balance.base import Probe, Setup
from equipose.types import Batch, Dense


def mpjpe(output, batch):
    return torch.linalg.vector_norm(output.joints - batch.target, dim=-1).mean(-1)


def squared(output, batch):
    return (output.joints - batch.target).square().sum(-1).mean(-1)


def started(strategy, model, loss=mpjpe, **setup):
    """The strategy after ``setup``; its own parameters are drawn from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        strategy.setup(model, Setup(loss=loss, **setup))
    return strategy


def probe_of(batches, epoch=0, validation=(), **more):
    return Probe(epoch, lambda: iter(batches), mpjpe, validation=lambda: iter(validation), epochs=10, **more)


def step(strategy, model, batch, loss=mpjpe):
    """Terms and gradients (parameter name -> tensor or None) of one step; nothing is updated."""
    for parameter in [*model.parameters(), *strategy.modules.parameters()]:
        parameter.grad = None
    features = strategy.features(model.encode(batch), batch)
    output = model.decode(features, batch.present)
    terms = strategy.objective(model, features, output, batch, loss(output, batch).mean())
    strategy.backward(terms)
    named = [*model.named_parameters(), *strategy.modules.named_parameters()]
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in named}
    strategy.gradients(model, output, batch)
    return terms.terms, gradients


def exact(batch):
    """The same batch in float64."""
    inputs = {m: Dense(x.values.double(), x.valid) for m, x in batch.inputs.items()}
    return Batch(batch.modalities, inputs, batch.present, batch.target.double(), batch.meta)


def without(batch, modality, rows):
    """The same batch, some samples of which lack a sensor."""
    present = batch.present.clone()
    present[rows, batch.modalities.index(modality)] = False
    return replace(batch, present=present)


def in_two_processes(function):
    """``[function(0, mean), function(1, mean)]`` at the same time, where ``mean`` is that over both."""
    barrier, held, results = threading.Barrier(2, timeout=30), {}, {}

    def run(rank):
        def mean(tensor):
            held[rank] = tensor.clone()
            barrier.wait()
            result = (held[0] + held[1]) / 2
            barrier.wait()
            return result

        results[rank] = function(rank, mean)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[0], results[1]]
