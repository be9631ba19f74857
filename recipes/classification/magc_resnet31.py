"""Single characters by a ResNet-31 with global context: a start for master.

    zoo train classification.magc_resnet31 --run runs/magc_resnet31

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="magc_resnet31")
