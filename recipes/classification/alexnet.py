"""Single characters by AlexNet.

    zoo train classification.alexnet --run runs/alexnet

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="alexnet", rate=3e-4)
