# Written by scripts/generate_index.py.
from . import baselines as baselines
from . import blind_kernel as blind_kernel
from . import colors as colors
from . import fill as fill
from . import islands as islands
from . import mask_edges as mask_edges
from .islands import Island as Island
