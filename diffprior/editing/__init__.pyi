# Written by scripts/generate_index.py.
from . import chains as chains
from . import codes as codes
from . import difference_mask as difference_mask
from . import invert as invert
from . import trajectory as trajectory
from .invert import Chain as Chain
from .invert import InversionResult as InversionResult
from .trajectory import Trajectory as Trajectory
