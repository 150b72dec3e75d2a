"""One of two processes that train with every strategy in turn; started by ``test_contracts``."""

from __future__ import annotations

import json
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from balance.small_runs import OneProcess, Run


class Gloo(OneProcess):
    """What ``Processes`` asks of Fabric, over the default process group."""

    def __init__(self):
        super().__init__()
        self.global_rank, self.world_size = dist.get_rank(), dist.get_world_size()

    def all_reduce(self, tensor, reduce_op):
        total = tensor.clone()
        dist.all_reduce(total)
        return total / self.world_size if reduce_op == "mean" else total

    def broadcast(self, value):
        held = [value]
        dist.broadcast_object_list(held)
        return held[0]

    def barrier(self):
        dist.barrier()


def main():
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    for number, (name, arguments) in enumerate(json.loads((folder / "jobs.json").read_text())):
        try:
            torch.save(Run(**arguments, fabric=Gloo()).go().weights(), folder / f"{number}_{rank}.pt")
        except Exception:  # the other process may wait for this one: give up on the pair
            (folder / f"{number}_{rank}.error").write_text(f"{name}\n{traceback.format_exc()}")
            return
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
