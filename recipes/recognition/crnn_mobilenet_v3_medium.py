"""A recognizer that grows out of the small one: wider and deeper where letters are still whole, not at the end.

zoo train recognition.crnn_mobilenet_v3_medium --run runs/medium --data DATA --start crnn_mobilenet_v3_small.lines

It reads as the small one does before its first step (`recipes.surgery.grow`), and learns from the same samples. 6500
steps, 80 minutes of two cores, gave half a point of synthetic words and nothing on pages: docs/experiments.md.
"""

from dataclasses import replace

from recipes.recognition.crnn_mobilenet_v3_small_lines import RECIPE as LINES

RECIPE = replace(
    LINES,
    model="crnn_mobilenet_v3_medium",
    steps=10_000,
    rate=1.3e-3,
    precision="onednn_bfloat16",
    checkpoint_every=500,
    validate_every=2000,
    validation=1000,
)
