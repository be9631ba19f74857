"""Single characters by a DenseNet-121: a start for crnn_densenet121.

    zoo train classification.densenet121 --run runs/densenet121

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="densenet121")
