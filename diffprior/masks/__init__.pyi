# Written by scripts/generate_index.py.
from . import changes as changes
from . import letters as letters
from . import lines as lines
from . import overlays as overlays
from . import paint as paint
from . import planes as planes
from . import rows as rows
from . import shapes as shapes
from .changes import difference as difference
from .letters import Strokes as Strokes
from .lines import scratches as scratches
from .overlays import text as text
from .paint import color as color
from .shapes import Parts as Parts
