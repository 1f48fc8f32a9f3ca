# Written by scripts/generate_index.py.
from . import base as base
from . import ddim_inversion as ddim_inversion
from . import direct as direct
from . import edict as edict
from . import edit_friendly as edit_friendly
from . import flow as flow
from . import negative_prompt as negative_prompt
from . import null_text as null_text
from ._steps import Steps as Steps
from .base import Inversion as Inversion
from .ddim_inversion import DDIMInversion as DDIMInversion
from .direct import DirectInversion as DirectInversion
from .edict import EDICT as EDICT
from .edit_friendly import EditFriendly as EditFriendly
from .flow import FlowInversion as FlowInversion
from .negative_prompt import NegativePrompt as NegativePrompt
from .null_text import NullText as NullText
