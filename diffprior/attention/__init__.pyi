# Written by scripts/generate_index.py.
from . import base as base
from . import refine as refine
from . import replace as replace
from . import reweight as reweight
from ._control import Sight as Sight
from .base import AttentionEdit as AttentionEdit
from .base import Words as Words
from .refine import Refine as Refine
from .replace import Replace as Replace
from .reweight import Reweight as Reweight
