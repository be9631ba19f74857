"""docTR's alphabet and a space: words, and words that were found together, in English and French.

zoo data cases DATA/sroie --output DATA/sroie_lines
zoo train recognition.crnn_mobilenet_v3_small_lines --run runs/lines --data DATA --start crnn_mobilenet_v3_small

The second set are the words of the first in the case that its print shows, and pairs of them. A space is a new row of
the last layer; all else goes on from the weights that it starts from. The shipped weights came of 3500 steps with the
cased words and no space (of 14,000 at a rate of 1.2e-3; "rec_s9" on the card), and of 9500 steps of this, of which
that of 7500 was the best, 1.9 hours on one of two busy cores; and of 9000 more (another seed, rate=1.2e-3,
precision=onednn_bfloat16), whose weights and those before were put together, six parts and four.
"""

from dataclasses import replace

from recipes.recognition.crnn_mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(
    SMALL,
    model="crnn_mobilenet_v3_small.lines",
    real=("icdar15_words", "icdar15_scenes", "sroie_lines", "docbank_pages", "tapus_fr_typewritten"),
    real_share=0.35,
    together=0.15,
    batch=64,
    steps=10_000,
    rate=1.1e-3,
    easy=0,
    longest=18,
    widest=224,
)
