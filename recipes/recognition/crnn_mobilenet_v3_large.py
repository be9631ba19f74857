"""The middle recognizer: twice the parameters of the default one.

    zoo train recognition.crnn_mobilenet_v3_large --run runs/crnn_large --data DATA

Not trained yet: no weights were released, and neither score nor hours are known.
"""

from dataclasses import replace

from recipes.recognition.crnn_mobilenet_v3_small import RECIPE as SMALL

RECIPE = replace(SMALL, model="crnn_mobilenet_v3_large", steps=30_000, rate=1.5e-3)
