"""Single characters by a ResNet-34: a start for db_resnet34 and linknet_resnet34.

    zoo train classification.resnet34 --run runs/resnet34

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="resnet34")
