"""Single characters by TextNet-small: a start for fast_small.

    zoo train classification.textnet_small --run runs/textnet_small

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="textnet_small")
