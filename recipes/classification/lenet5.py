"""Single characters by LeNet-5; trains on a laptop.

    zoo train classification.lenet5 --run runs/lenet5

Not trained yet: no weights were released, and neither score nor hours are known.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="lenet5", batch=128, rate=1e-3)
