# Written by scripts/generate_index.py.
import diffprior.errors as _errors

from . import adm as adm
from . import cascade as cascade
from . import checkpoints as checkpoints
from . import components as components
from . import conditioned as conditioned
from . import diffusers as diffusers
from . import edm as edm
from . import layer_names as layer_names
from . import layouts as layouts
from . import load as load
from . import lora as lora
from . import native as native
from . import pipelines as pipelines
from . import schedulers as schedulers
from . import seeing as seeing
from . import settings as settings
from .adm import ADMSettings as ADMSettings
from .cascade import CascadeSettings as CascadeSettings
from .diffusers import NetworkSettings as NetworkSettings
from .layouts import Network as Network
from .load import load_prior as load_prior
from .load import shipped as shipped
from .native import NativeSettings as NativeSettings
from .pipelines import PipelineSettings as PipelineSettings
from .settings import LabelSettings as LabelSettings

PriorError = _errors.PriorError
