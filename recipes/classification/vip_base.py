"""Single characters by a VIP of 256 channels.

    zoo train classification.vip_base --run runs/vip_base

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="vip_base")
