"""Gather the region adjacency graph block by block, and score its edges."""

from catena.script import run_script

if __name__ == "__main__":
    run_script(__doc__, "agglomerate")
