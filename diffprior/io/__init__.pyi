# Written by scripts/generate_index.py.
import diffprior.errors as _errors

from . import animations as animations
from . import arrays as arrays
from . import atomic as atomic
from . import decoding as decoding
from . import documents as documents
from . import exif as exif
from . import extras as extras
from . import figures as figures
from . import files as files
from . import jpeg as jpeg
from . import ledger as ledger
from . import masks as masks
from . import metadata as metadata
from . import numbers as numbers
from . import png as png
from . import previews as previews
from . import sources as sources
from . import tiff as tiff
from .arrays import Images as Images
from .arrays import as_images as as_images
from .arrays import to_pil as to_pil
from .decoding import Decoded as Decoded
from .files import File as File
from .files import encode as encode
from .files import find as find
from .files import read as read
from .files import write as write
from .jpeg import Coding as Coding
from .ledger import Ledger as Ledger
from .masks import MaskReading as MaskReading
from .masks import fit_mask as fit_mask
from .masks import mask_tensor as mask_tensor
from .masks import read_mask as read_mask
from .metadata import Metadata as Metadata
from .numbers import Measurement as Measurement

ImageError = _errors.ImageError
