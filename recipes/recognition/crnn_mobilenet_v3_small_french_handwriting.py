"""Lines of French handwriting, from the recognizer of the default pair.

zoo data fonts FONTS
OCRZOO_FONTS=FONTS zoo train recognition.crnn_mobilenet_v3_small_french_handwriting --run runs/hand --data DATA \\
    --start crnn_mobilenet_v3_small.european

Two hundred lines by twenty hands are few: each is seen as other hands and pens would have written it, and every other
sample is synthetic, in French, two of five a part of the lines' texts, nearly all in fonts that look written. There are
250 families of these where those that npm has are fetched, 20 without.
"""

from dataclasses import replace

from recipes.recognition.crnn_mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(
    SMALL,
    model="crnn_mobilenet_v3_small.french_handwriting",
    real=("poilus_fr_handwritten_lines",),
    real_share=0.5,
    together=0.9,
    language="french",
    quoted=0.4,
    hardest=0.4,
    hand=0.9,
    aligned=0.2,
    easy=0,
    longest=44,
    batch=16,
    steps=6000,
    rate=1.2e-3,
    precision="onednn_bfloat16",
    widest=768,
    checkpoint_every=250,
    validate_every=1000,
)
