"""The recognizer of the default pair: words and lines in the languages of Europe that are written in Latin script.

zoo train recognition.crnn_mobilenet_v3_small_european --run runs/european --data DATA \\
    --start crnn_mobilenet_v3_small.lines

Each new letter begins as the one that it is built on. Synthetic words are in the languages whose lists the machine has,
and one of fourteen has marks on any of its letters. The shipped weights are the mean of two such runs beside each
other, 4000 steps of 64 and 6000 of 32 (seed=402, rate=1e-3), 71 and 54 minutes of one of two busy cores; and of two
more that began from that mean, two fifths each: 5000 steps of 64 (seed=501, rate=1.1e-3) and 8000 of 32 (seed=502,
rate=9e-4), both with real_share=0.35, 94 and 87 minutes; and seven further runs since, averaged in (its card;
docs/experiments.md, 19 to 27), the last with the fonts of `zoo data fonts`.
"""

from dataclasses import replace

from recipes.recognition.crnn_mobilenet_v3_small_lines import RECIPE as LINES

RECIPE = replace(
    LINES,
    model="crnn_mobilenet_v3_small.european",
    real_share=0.3,
    steps=4000,
    rate=1.3e-3,
    validate_every=2000,
    validation=1000,
)
