"""FAST's large detector; `zoo.detection.fast.reparameterize` makes it faster after training.

    zoo train detection.fast_base --run runs/fast_base --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.detection.fast_tiny import RECIPE as TINY

RECIPE = replace(TINY, model="fast_base")
