"""Lines of German blackletter print, from the recognizer of the default pair.

zoo train recognition.crnn_mobilenet_v3_small_fraktur --run runs/fraktur --data DATA \\
    --start crnn_mobilenet_v3_small.lines

There are few lines of it: what the start knows of letters is kept, and a long s, umlauts, German quotation marks and a
dash are new rows of the last layer. The shipped weights came of one such run, 17 minutes of one of two busy cores.
"""

from dataclasses import replace

from recipes.recognition.crnn_mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(
    SMALL,
    model="crnn_mobilenet_v3_small.fraktur",
    real=("ocrd_fraktur_lines",),
    real_share=0.85,
    aligned=0.0,
    easy=0,
    longest=40,
    batch=16,
    steps=1000,
    widest=1024,
    checkpoint_every=250,
    validate_every=500,
)
