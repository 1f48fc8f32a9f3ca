# Written by scripts/generate_index.py.
from . import bound as bound
from . import flow as flow
from . import levels as levels
from . import nonequilibrium as nonequilibrium
from . import ode as ode
from .bound import Bound as Bound
from .bound import Curve as Curve
from .bound import Denoiser as Denoiser
from .bound import limit_bound as limit_bound
from .bound import variational_bound as variational_bound
from .flow import Density as Density
from .flow import FlowSettings as FlowSettings
from .flow import flow_density as flow_density
from .levels import bits_per_dimension as bits_per_dimension
from .levels import dequantize as dequantize
from .nonequilibrium import nonequilibrium_bound as nonequilibrium_bound
from .ode import Solution as Solution
