# Written by scripts/generate_index.py.
from . import checks as checks
from . import conditions as conditions
from . import defaults as defaults
from . import memory as memory
from . import noise_level as noise_level
from . import placement as placement
from . import report as report
from . import results as results
from . import solve as solve
from .conditions import Condition as Condition
from .conditions import FromFile as FromFile
from .conditions import LoadSettings as LoadSettings
from .conditions import PriorSettings as PriorSettings
from .report import Meter as Meter
from .results import Result as Result
