"""Extract fragments from the affinities, block by block."""

from catena.script import run_script

if __name__ == "__main__":
    run_script(__doc__, "fragments")
