"""A large detector: half as deep as db_resnet50, for servers and desktops.

    zoo train detection.db_resnet34 --run runs/db_resnet34 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.detection.db_resnet50 import RECIPE as LARGE

RECIPE = replace(LARGE, model="db_resnet34")
