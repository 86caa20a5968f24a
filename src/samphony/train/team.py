"""The processes of a run, which share every batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist


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
