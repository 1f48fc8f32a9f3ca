# Written by scripts/generate_index.py.
from . import deepinv as deepinv
from . import diffusers as diffusers
from .deepinv import DeepinvDenoiser as DeepinvDenoiser
from .diffusers import NAFUNet as NAFUNet
