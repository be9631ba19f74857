"""Single characters by a ResNet-18: a start for linknet_resnet18.

    zoo train classification.resnet18 --run runs/resnet18

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="resnet18")
