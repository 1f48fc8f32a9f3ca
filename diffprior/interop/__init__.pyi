# Written by scripts/generate_index.py.
from . import canvas as canvas
from . import deepinv as deepinv
from . import diffusers as diffusers
from . import notebook as notebook
from .canvas import MaskCanvas as MaskCanvas
from .deepinv import DeepinvDenoiser as DeepinvDenoiser
from .diffusers import NAFUNet as NAFUNet
from .notebook import widget as widget
