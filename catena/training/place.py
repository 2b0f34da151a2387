"""Which of the processes that train together a process is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE = timedelta(days=7)  # validation may take long; that a process has died is noticed otherwise


@dataclass(frozen=True)
class Place:
    """Which of the processes of a training this is.

    Attributes
    ----------
    rank, size
        This process of all of them.
    local_rank, local_size
        The same on this machine.
    store
        Where they meet; None for a process alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    store: Any = field(default=None, repr=False)

    @property
    def leads(self) -> bool:
        """Whether this process reads, writes, validates and reports."""
        return self.rank == 0

    @contextmanager
    def connected(self, *, gpu: bool) -> Iterator[None]:
        """Connect all processes while it lasts; nothing for a process alone."""
        import torch

        if self.size == 1:
            yield
            return
        device = torch.device("cuda", self.local_rank) if gpu else None
        torch.distributed.init_process_group(
            "nccl" if gpu else "gloo",
            store=self.store,
            rank=self.rank,
            world_size=self.size,
            timeout=PATIENCE,
            device_id=device,
        )
        with warnings.catch_warnings():
            # of kernels of one voxel, whose memory has one order under two names
            warnings.filterwarnings("ignore", message="Grad strides do not match")
            try:
                yield
            finally:
                torch.distributed.destroy_process_group()

    def gathered(self, values: Tensor) -> Tensor:
        """Return the values of all processes, stacked."""
        import torch

        if self.size == 1:
            return values[None]
        every = [torch.empty_like(values) for _ in range(self.size)]
        torch.distributed.all_gather(every, values)
        return torch.stack(every)


Work = Callable[[Place], Any]
"""What a follower does in its place; can be pickled."""
