# Written by scripts/generate_index.py.
from . import ancestral as ancestral
from . import base as base
from . import ddim as ddim
from . import dpm as dpm
from . import heun as heun
from .ancestral import Ancestral as Ancestral
from .base import Sampler as Sampler
from .ddim import DDIM as DDIM
from .dpm import DPM as DPM
from .heun import Heun as Heun
