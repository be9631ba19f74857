"""A transformer that writes what a convolutional network sees: exact, and slow to train.

    zoo train recognition.master --run runs/master --data DATA

Not trained yet: no weights were released, and neither score nor hours are known. Meant for a GPU.
"""

from dataclasses import replace

from recipes.recognition.vitstr_small import RECIPE as VITSTR

RECIPE = replace(VITSTR, model="master", options={"teacher": True}, batch=96, rate=4e-4, warmup=3000)
