"""Stages that work block by block: grid, workers, launchers, status."""

from catena.blockwise.blocks import Block, BlockGrid
from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.failures import BlockFailure
from catena.blockwise.faults import fault_place, fault_point
from catena.blockwise.job import ProcessBlock, WorkerSpec
from catena.blockwise.masks import skip_mask_from_array
from catena.blockwise.partial import remove_partial_files
from catena.blockwise.report import BlockwiseReport, FailedBlocksError
from catena.blockwise.run import run_blockwise
from catena.blockwise.status import BlockwiseStatus, read_status

__all__ = [
    "Block",
    "BlockFailure",
    "BlockGrid",
    "BlockwiseReport",
    "BlockwiseStatus",
    "ExecutionConfig",
    "FailedBlocksError",
    "ProcessBlock",
    "WorkerSpec",
    "fault_place",
    "fault_point",
    "read_status",
    "remove_partial_files",
    "run_blockwise",
    "skip_mask_from_array",
]
