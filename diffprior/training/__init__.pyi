# Written by scripts/generate_index.py.
from . import commands as commands
from . import hole_validation as hole_validation
from . import image_files as image_files
from . import labelled as labelled
from . import muon as muon
from . import photographs as photographs
from . import processes as processes
from . import trainer as trainer
from .hole_validation import HoleValidation as HoleValidation
from .image_files import Skipped as Skipped
from .labelled import ClassedImages as ClassedImages
from .muon import Muon as Muon
from .photographs import Crops as Crops
from .photographs import Photographs as Photographs
from .processes import Processes as Processes
from .trainer import Trainer as Trainer
from .trainer import TrainingConfig as TrainingConfig
