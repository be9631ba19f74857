"""Single characters by a vision transformer of 768 channels: a start for vitstr_base.

    zoo train classification.vit_b --run runs/vit_b

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="vit_b")
