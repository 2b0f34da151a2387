"""What a run would take, before it is made: blocks, bytes, memory, rows, hours."""

from catena.planning.estimate import RunEstimate, StageEstimate
from catena.planning.forecast import estimate_run
from catena.planning.presentation import print_estimate, to_json
from catena.planning.rates import Estimation, Rates, Sample

__all__ = ["Estimation", "Rates", "RunEstimate", "Sample", "StageEstimate", "estimate_run", "print_estimate", "to_json"]
