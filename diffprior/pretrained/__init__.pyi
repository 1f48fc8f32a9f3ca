# Written by scripts/generate_index.py.
import diffprior.errors as _errors

from . import checkpoints as checkpoints
from . import components as components
from . import load as load
from . import pipelines as pipelines
from .load import load_prior as load_prior
from .load import shipped as shipped

PriorError = _errors.PriorError
