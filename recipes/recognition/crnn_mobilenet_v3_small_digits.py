"""Digits: those of MNIST, written by hand, and numbers in print, from the recognizer of words.

zoo train recognition.crnn_mobilenet_v3_small_digits --run runs/digits --data DATA --start crnn_mobilenet_v3_small

Of the rows of the last layer those of the ten digits are kept. The shipped weights came of such a run, of 2000 steps
more (real_share=0.85, rate=8e-4, ema=0.998), of 1800 (real_share=0.95, rate=6e-4), and of 4000 (real_share=0.98,
rate=1.5e-3), two hours of one of two busy cores; they are the mean of those before and after the last.
"""

from dataclasses import replace

from recipes.recognition.crnn_mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(
    SMALL,
    model="crnn_mobilenet_v3_small.digits",
    real=("mnist",),
    real_share=0.8,
    aligned=0.0,
    easy=0,
    longest=10,
    batch=128,
    steps=1500,
    widest=160,
    checkpoint_every=250,
    validate_every=1500,
    validation=2000,
)
