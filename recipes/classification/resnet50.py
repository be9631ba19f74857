"""Single characters by a ResNet-50: a start for db_resnet50 and linknet_resnet50.

    zoo train classification.resnet50 --run runs/resnet50

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="resnet50")
