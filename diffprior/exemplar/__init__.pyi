# Written by scripts/generate_index.py.
from . import blend as blend
from . import completion as completion
from . import judge as judge
from . import labeling as labeling
from . import levels as levels
from . import matching as matching
from . import offsets as offsets
from . import references as references
from . import shift_map as shift_map
from .labeling import Energy as Energy
from .labeling import Lattice as Lattice
from .levels import Level as Level
from .matching import Matching as Matching
from .references import Reference as Reference
from .references import Shown as Shown
from .shift_map import ShiftMap as ShiftMap
