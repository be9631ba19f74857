"""Lines of French handwriting, from the recognizer of the default pair.

zoo train recognition.crnn_mobilenet_v3_small_french_handwriting --run runs/hand --data DATA \\
    --start crnn_mobilenet_v3_small.lines

Not released: of held-out characters 0.42 are wrong after 4800 steps (docs/experiments.md). Two hundred lines by twenty
hands are few: each is seen as other hands and pens would have written it, and every fourth sample is synthetic, most of
these in fonts that look written.
"""

from dataclasses import replace

from recipes.recognition.crnn_mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(
    SMALL,
    model="crnn_mobilenet_v3_small.french_handwriting",
    real=("poilus_fr_handwritten_lines",),
    real_share=0.75,
    together=0.9,
    hand=0.8,
    aligned=0.2,
    easy=0,
    longest=40,
    batch=16,
    steps=4000,
    widest=768,
    checkpoint_every=500,
    validate_every=1000,
)
