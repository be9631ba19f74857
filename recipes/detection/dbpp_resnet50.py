"""DB++: learns from DB's maps by DB's loss.

    zoo train detection.dbpp_resnet50 --run runs/dbpp_resnet50 --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.detection.db_resnet50 import RECIPE as DB

RECIPE = replace(DB, model="dbpp_resnet50")
