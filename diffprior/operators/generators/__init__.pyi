# Written by scripts/generate_index.py.
from . import frequencies as frequencies
from . import kernels as kernels
from . import masks as masks
