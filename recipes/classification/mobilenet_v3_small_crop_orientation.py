"""By how many quarter turns the crop of a word is turned.

    zoo train classification.mobilenet_v3_small_crop_orientation --run runs/mobilenet_v3_small_crop_orientation

Not trained yet: no weights were released, and neither score nor hours are known.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(
    SMALL,
    model="mobilenet_v3_small_crop_orientation",
    real=("icdar15_words", "sroie", "docbank_pages", "tapus_fr_typewritten"),
    steps=10_000,
    rate=1e-3,
)
