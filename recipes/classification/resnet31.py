"""Single characters by a ResNet-31: a start for sar_resnet31.

    zoo train classification.resnet31 --run runs/resnet31

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="resnet31")
