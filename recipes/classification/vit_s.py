"""Single characters by a vision transformer of 384 channels: a start for vitstr_small.

    zoo train classification.vit_s --run runs/vit_s

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="vit_s")
