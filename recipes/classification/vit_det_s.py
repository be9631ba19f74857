"""Single characters by a ViTDet of 192 channels.

    zoo train classification.vit_det_s --run runs/vit_det_s

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="vit_det_s")
