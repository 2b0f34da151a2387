import sys
from pathlib import Path

# The toy network and crops are shared by tests, data workers and a script that gets killed.
sys.path.insert(0, str(Path(__file__).parent))
