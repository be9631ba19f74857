"""Single characters by a ResNet-34 of twice the width.

    zoo train classification.resnet34_wide --run runs/resnet34_wide

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="resnet34_wide")
