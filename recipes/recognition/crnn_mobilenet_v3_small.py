"""The default recognizer: small, for laptops and phones.

zoo train recognition.crnn_mobilenet_v3_small --run runs/crnn_small --data DATA

The shipped weights came of two shorter runs of it, as the card says: 600 steps of 64, then 4000 of 32, about an hour
on two busy CPU cores. They read 65 % of the held-out real words. A whole run of these settings has not been made yet.
"""

from recipes.recipe import Recipe

RECIPE = Recipe(
    model="crnn_mobilenet_v3_small",
    task="recipes.recognition.task",
    real=("icdar15_words", "icdar15_scenes", "sroie", "docbank_pages", "tapus_fr_typewritten"),
    real_share=0.2,
    batch=64,
    steps=8000,
    rate=2e-3,
    warmup=300,
    aligned=1.0,
    easy=150_000,
    longest=14,
    widest=192,
)
