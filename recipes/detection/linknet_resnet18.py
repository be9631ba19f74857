"""LinkNet's small detector: it decodes at little cost.

    zoo train detection.linknet_resnet18 --run runs/linknet_resnet18 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace
from functools import partial

from recipes import losses
from recipes.detection import targets
from recipes.detection.db_resnet50 import RECIPE as LARGE
from recipes.detection.task import Task

make = partial(Task, maps=targets.regions, loss=losses.linknet)
RECIPE = replace(LARGE, model="linknet_resnet18", task=__name__)
