"""Single characters by the larger backbone of recognizers: a start for crnn_mobilenet_v3_large.

    zoo train classification.mobilenet_v3_large_r --run runs/mobilenet_v3_large_r

Not trained yet: no weights were released, and neither score nor hours are known.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="mobilenet_v3_large_r")
