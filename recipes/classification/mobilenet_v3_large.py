"""Single characters by the larger MobileNetV3.

    zoo train classification.mobilenet_v3_large --run runs/mobilenet_v3_large

Not trained yet: no weights were released, and neither score nor hours are known.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="mobilenet_v3_large")
