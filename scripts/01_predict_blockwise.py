"""Predict every voxel of the volumes, block by block, with the trained network."""

from catena.script import run_script

if __name__ == "__main__":
    run_script(__doc__, "predict", first="content")
