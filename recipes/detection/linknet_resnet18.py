"""LinkNet's small detector: it decodes at little cost.

    zoo train detection.linknet_resnet18 --run runs/linknet_resnet18 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.detection.db_resnet50 import RECIPE as LARGE

RECIPE = replace(LARGE, model="linknet_resnet18")
