"""Score the segmentation against ground truth."""

from catena.script import run_script

if __name__ == "__main__":
    run_script(__doc__, "evaluate")
