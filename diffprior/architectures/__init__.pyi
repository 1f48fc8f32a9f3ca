# Written by scripts/generate_index.py.
from . import base as base
from . import dit as dit
from . import mlp as mlp
from . import nafunet as nafunet
from . import unet as unet
from .base import Architecture as Architecture
from .base import Demand as Demand
from .dit import DiT as DiT
from .mlp import MLP as MLP
from .nafunet import NAFUNet as NAFUNet
from .unet import UNet as UNet
