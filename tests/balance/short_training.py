"""The loop of ``balance/base.py`` on batches in memory, in one process or in two pretended ones."""

from __future__ import annotations

import threading

import torch

from equipose.balance.base import Probe, Setup


def loss(output, batch):
    return torch.linalg.vector_norm(output.joints - batch.target, dim=-1).mean(-1)


def setup_of(batches, epochs=2, optimizer="adam", seed=0, mean=None):
    count = sum(len(b) for b in batches)
    return Setup(loss, seed, optimizer, epochs, len(batches), count, mean or (lambda tensor: tensor))


def run(model, strategy, batches, epochs=2, optimizer="adam", mean=None, rate=0.01, train=True):
    """Train; with ``mean`` gradients are averaged over processes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        strategy.setup(model, setup_of(batches, epochs, optimizer, mean=mean))
    parameters = [*model.parameters(), *strategy.modules.parameters()]
    optim = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer](parameters, lr=rate)
    model.train(train)
    for epoch in range(epochs):
        probe = Probe(epoch, lambda: iter(batches), loss, epochs=epochs, learning_rate=rate)
        strategy.begin_epoch(model, probe)
        for batch in batches:
            optim.zero_grad()
            features = strategy.features(model.encode(batch), batch)
            output = model.decode(features, batch.present)
            terms = strategy.objective(model, features, output, batch, loss(output, batch).mean())
            strategy.backward(terms)
            if mean is not None:
                for p in parameters:
                    if p.grad is not None:
                        p.grad.copy_(mean(p.grad))
            strategy.gradients(model, output, batch)
            optim.step()
            strategy.after_step(model)
        strategy.end_epoch(model, probe)
    return strategy


def in_two(compute):
    """``compute(mean, rank)`` in two threads that stand for processes; both results."""
    barrier, sent, results, errors = threading.Barrier(2, timeout=30), [None, None], [None, None], []

    def process(rank):
        def mean(tensor):
            sent[rank] = tensor.detach().clone()
            barrier.wait()
            result = (sent[0] + sent[1]) / 2
            barrier.wait()
            return result

        try:
            results[rank] = compute(mean, rank)
        except Exception as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=process, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])
