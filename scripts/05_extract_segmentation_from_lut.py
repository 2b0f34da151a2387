"""Write the segmentation from fragments and lookup table, block by block."""

from catena.script import run_script

if __name__ == "__main__":
    run_script(__doc__, "segmentation")
