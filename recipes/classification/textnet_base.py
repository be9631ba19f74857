"""Single characters by TextNet-base: a start for fast_base.

    zoo train classification.textnet_base --run runs/textnet_base

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="textnet_base")
