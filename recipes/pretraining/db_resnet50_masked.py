"""The ResNet-50 of a detector, by filling in hidden patches of pages (SimMIM).

zoo train pretraining.db_resnet50_masked --run runs/before --set target=PAGES
zoo train detection.db_resnet50 --run runs/after --data DATA --start runs/before

Without a target it takes synthetic pages. Not run at its full length yet. Meant for a GPU.
"""

from dataclasses import replace

from recipes.pretraining.db_mobilenet_v3_large_masked import RECIPE as MASKED

RECIPE = replace(MASKED, model="db_resnet50")
