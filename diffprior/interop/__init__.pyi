# Written by scripts/generate_index.py.
from . import canvas as canvas
from . import comfyui as comfyui
from . import commands as commands
from . import deepinv as deepinv
from . import diffusers as diffusers
from . import mcp as mcp
from . import napari as napari
from . import notebook as notebook
from . import offered as offered
from . import toolbox as toolbox
from .canvas import MaskCanvas as MaskCanvas
from .deepinv import DeepinvDenoiser as DeepinvDenoiser
from .diffusers import NAFUNet as NAFUNet
from .notebook import widget as widget
from .toolbox import Answer as Answer
from .toolbox import Tool as Tool
from .toolbox import Toolbox as Toolbox
