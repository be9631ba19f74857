"""The backbone of the default recognizer, by telling stretches of text apart (SeqCLR).

zoo train pretraining.crnn_mobilenet_v3_small_contrastive --run runs/before --set target=PICTURES
zoo train recognition.crnn_mobilenet_v3_small --run runs/after --data DATA --start runs/before

Without a target it takes synthetic words. What it gained in a small experiment, docs/experiments.md tells.
"""

from recipes.recipe import Recipe

RECIPE = Recipe(
    model="crnn_mobilenet_v3_small",
    task="recipes.pretrain",
    adapt="contrastive",
    windows=5,
    batch=64,
    steps=10_000,
    rate=1e-3,
    widest=192,
)
