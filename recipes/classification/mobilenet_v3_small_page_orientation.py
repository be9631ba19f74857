"""By how many quarter turns a page is turned.

    zoo train classification.mobilenet_v3_small_page_orientation --run runs/mobilenet_v3_small_page_orientation

Not trained yet: no weights were released, and neither score nor hours are known.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small_crop_orientation import RECIPE as CROP

RECIPE = replace(CROP, model="mobilenet_v3_small_page_orientation", batch=16, steps=5000, validation=200)
