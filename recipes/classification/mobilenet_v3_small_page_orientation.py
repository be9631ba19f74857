"""By how many quarter turns a page is turned.

    zoo train classification.mobilenet_v3_small_page_orientation --run runs/mobilenet_v3_small_page_orientation

Not trained yet: no weights were released, and neither score nor hours are known.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small_crop_orientation import RECIPE as CROP

RECIPE = replace(
    CROP,
    model="mobilenet_v3_small_page_orientation",
    real=("sroie", "icdar15_scenes", "docbank_pages", "tapus_fr_typewritten"),
    batch=16,
    steps=3000,
    validation=100,
)
