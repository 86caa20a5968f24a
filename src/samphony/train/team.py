"""The processes of a run, which share every batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Team:
    """This process's rank among ``size``."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Team:
        """From torch.distributed when it is initialised."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def slots(self, batch: int) -> range:
        """This process's part of a batch, which must divide evenly."""
        if batch % self.size:
            raise ValueError(f"a batch of {batch} cannot be shared by {self.size} processes")
        part = batch // self.size
        return range(self.rank * part, (self.rank + 1) * part)

    def share(self, model: nn.Module) -> None:
        """Give every process the first one's parameters: computed ones may differ by machine in the last digits."""
        if self.size == 1:
            return
        with torch.no_grad():
            for parameter in model.parameters():
                values = parameter.detach().contiguous()
                dist.broadcast(values, 0)
                parameter.copy_(values)
