# Written by scripts/generate_index.py.
from . import base as base
from . import bits as bits
from . import data_step as data_step
from . import gaussian as gaussian
from . import jpeg as jpeg
from . import noises as noises
from .base import ConditionableLikelihood as ConditionableLikelihood
from .base import Likelihood as Likelihood
from .bits import FlipLikelihood as FlipLikelihood
from .gaussian import GaussianLikelihood as GaussianLikelihood
from .jpeg import CellLikelihood as CellLikelihood
from .jpeg import Coefficients as Coefficients
from .noises import LaplaceLikelihood as LaplaceLikelihood
from .noises import PoissonGaussianLikelihood as PoissonGaussianLikelihood
from .noises import PoissonLikelihood as PoissonLikelihood
from .noises import SaltPepperLikelihood as SaltPepperLikelihood
from .noises import SpeckleLikelihood as SpeckleLikelihood
