"""The backbone of the default detector, by filling in hidden patches of pages (SimMIM).

zoo train pretraining.db_mobilenet_v3_large_masked --run runs/before --set target=PAGES
zoo train detection.db_mobilenet_v3_large --run runs/after --data DATA --start runs/before

Without a target it takes synthetic pages. Not run at its full length yet. Meant for a GPU.
"""

from dataclasses import replace

from recipes.pretraining.db_mobilenet_v3_large_contrastive import RECIPE as CONTRASTIVE

RECIPE = replace(CONTRASTIVE, adapt="masked", patch=(32, 32), hidden=0.6, batch=32)
