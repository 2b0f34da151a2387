import sys
from pathlib import Path

# What the tests know of pages is shared.
sys.path.insert(0, str(Path(__file__).parent))
