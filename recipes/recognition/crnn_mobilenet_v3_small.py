"""A small recognizer, for laptops and phones.

zoo train recognition.crnn_mobilenet_v3_small --run runs/crnn_small --data DATA

The shipped weights came of seven shorter runs of it, each from where the last one ended, as the card says: 600 steps of
64 easy words, 4000 of 32 that grew harder, 11,000 of 32 hard ones, 12,000 and twice 10,000 more after synthetic
words had come to look more like signs, and 10,000 with as many common words as prose has, about eleven hours on a busy
CPU core. A whole run of these settings has not been made.
"""

from recipes.recipe import Recipe

RECIPE = Recipe(
    model="crnn_mobilenet_v3_small",
    task="recipes.recognition.task",
    real=("icdar15_words", "icdar15_scenes", "sroie", "docbank_pages", "tapus_fr_typewritten"),
    real_share=0.2,
    batch=32,
    steps=20_000,
    rate=1e-3,
    warmup=100,
    aligned=0.5,
    easy=100_000,
    longest=16,
    widest=192,
)
