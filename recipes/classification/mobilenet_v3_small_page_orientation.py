"""By how many quarter turns a page is turned.

    zoo train classification.mobilenet_v3_small_page_orientation --run RUN --data DATA --start crnn_mobilenet_v3_small

The shipped weights came of two runs of 1500 steps, as docs/experiments.md says, 80 minutes of one core beside other
work: all of 112 held-out real pages are told; on tests 0.99 of receipts and typescripts, 0.87 to 0.88 of pages of small
print.
"""

from dataclasses import replace

from recipes.classification.mobilenet_v3_small_crop_orientation import RECIPE as CROP

RECIPE = replace(
    CROP,
    model="mobilenet_v3_small_page_orientation",
    real=("sroie", "icdar15_scenes", "docbank_pages", "tapus_fr_typewritten"),
    real_share=0.75,
    batch=16,
    steps=3000,
    rate=2e-3,
    validation=100,
)
