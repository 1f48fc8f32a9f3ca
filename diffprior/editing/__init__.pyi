# Written by scripts/generate_index.py.
from . import chains as chains
from . import codes as codes
from . import difference_mask as difference_mask
from . import invert as invert
from . import page as page
from . import trajectory as trajectory
from .invert import Descent as Descent
from .page import Edit as Edit
from .page import Edited as Edited
from .page import Session as Session
from .trajectory import InversionResult as InversionResult
from .trajectory import Trajectory as Trajectory
