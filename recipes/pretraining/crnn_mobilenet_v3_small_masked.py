"""The backbone of the default recognizer, by filling in hidden patches of words (SimMIM).

zoo train pretraining.crnn_mobilenet_v3_small_masked --run runs/before --set target=PICTURES
zoo train recognition.crnn_mobilenet_v3_small --run runs/after --data DATA --start runs/before

Without a target it takes synthetic words. What it gained in a small experiment, docs/experiments.md tells.
"""

from dataclasses import replace

from recipes.pretraining.crnn_mobilenet_v3_small_contrastive import RECIPE as CONTRASTIVE

RECIPE = replace(CONTRASTIVE, adapt="masked", patch=(16, 16), hidden=0.5)
