"""FAST's small detector; `zoo.detection.fast.reparameterize` makes it faster after training.

    zoo train detection.fast_tiny --run runs/fast_tiny --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace
from functools import partial

from recipes import losses
from recipes.detection import targets
from recipes.detection.db_resnet50 import RECIPE as LARGE
from recipes.detection.task import Task

make = partial(Task, maps=targets.regions, loss=losses.fast)
RECIPE = replace(LARGE, model="fast_tiny", task=__name__)
