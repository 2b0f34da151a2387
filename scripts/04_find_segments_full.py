"""Find the segments of the whole graph: lookup tables at all thresholds, and the best threshold."""

from catena.script import run_script

if __name__ == "__main__":
    run_script(__doc__, "lookup_tables")
