"""Single characters by TextNet-tiny: a start for fast_tiny.

    zoo train classification.textnet_tiny --run runs/textnet_tiny

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="textnet_tiny")
