"""LinkNet's large detector.

    zoo train detection.linknet_resnet50 --run runs/linknet_resnet50 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.detection.linknet_resnet18 import RECIPE as SMALL

RECIPE = replace(SMALL, model="linknet_resnet50")
