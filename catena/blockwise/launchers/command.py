"""The command and the environment of a worker."""

from __future__ import annotations

import sys
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "BLOSC_NTHREADS",
)


def worker_command(job_path: Path, python: str = sys.executable) -> list[str]:
    """Return the command of a worker; ``-P`` keeps the current folder from shadowing packages."""
    return [python, "-P", "-m", "catena.blockwise.worker", str(job_path)]


def contained_command(job_path: Path, image: str, gpus: int) -> list[str]:
    """Return the command of a worker in a container of Apptainer, with the Python that the image has."""
    graphics = ["--nv"] if gpus else []
    return ["apptainer", "exec", *graphics, image, *worker_command(job_path, "python")]


def worker_variables(context: str, cores: int) -> dict[str, str]:
    """Return what a worker needs in its environment: where its scheduler is, and how many threads it may use."""
    return dict.fromkeys(THREAD_VARIABLES, str(cores)) | {"DAISY_CONTEXT": context}
