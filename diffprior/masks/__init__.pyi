# Written by scripts/generate_index.py.
from . import paint as paint
from . import planes as planes
from .paint import color as color
