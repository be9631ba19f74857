"""A detector's task of one small page, black bars on white, to be learnt by heart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recipes.detection import task

BARS = [(12, 12, 52, 26), (64, 12, 116, 26), (12, 44, 84, 58), (12, 90, 116, 110)]


def page() -> task.Page:
    image = np.full((128, 128, 3), 240, np.uint8)
    polygons = [[[x0, y0], [x1, y0], [x1, y1], [x0, y1]] for x0, y0, x1, y1 in BARS]
    for x0, y0, x1, y1 in BARS:
        image[y0:y1, x0:x1] = 20
    return task.Page(image, np.array(polygons, "float32"), np.zeros(len(BARS), bool))


class Task(task.Task):
    def sample(self, index: int) -> task.Page:
        return page()

    def held_out(self):
        return {"one": [page()]}


def make(recipe, card, data) -> Task:
    return Task(recipe, replace(card, reading={**card.reading, "size": [128, 128], "multiple": 128}), data)
