"""Single characters by a tiny VIP: a start for viptr_tiny.

    zoo train classification.vip_tiny --run runs/vip_tiny

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="vip_tiny")
