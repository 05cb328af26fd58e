"""Map of identities: features in two dimensions by t-SNE, with a crop for each person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from osnet.data.records import DISTRACTOR
from osnet.report.charts import GRID, SOFT, figure
from osnet.report.pictures import Pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from osnet.evaluation.evaluate import Evaluation

PEOPLE, IMAGES_EACH, OTHERS = 18, 24, 300
"""Number of coloured people, of images of each, and of grey images of others: few enough to take seconds for a data set
of any size."""

_LEAST = 5


def identity_map(
    evaluation: Evaluation, interesting: Sequence[int], pictures: Pictures | None = None, *, seed: int = 0
) -> Figure | None:
    """Draw images of some people by t-SNE (van der Maaten and Hinton, JMLR 2008); None for fewer than five images.

    Args:
        evaluation: of `osnet.evaluate`.
        interesting: queries whose people are on the map; others are picked by `seed`.
        pictures: gives the crops; None for those of image files, all of which must be there.
        seed: of that draw, of the images, and of t-SNE.
    """
    from matplotlib import colormaps
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    pictures = pictures or Pictures(may_be_missing=False)
    records = [*evaluation.query, *evaluation.gallery]
    rng = np.random.default_rng(seed)
    people = _people(evaluation, interesting, rng)
    by_person: dict[int, list[int]] = {person: [] for person in people}
    others = []
    for place, record in enumerate(records):
        if record.person in by_person:
            by_person[record.person].append(place)
        elif record.person >= DISTRACTOR:
            others.append(place)
    for person, places in by_person.items():
        if len(places) > IMAGES_EACH:
            by_person[person] = sorted(rng.choice(places, IMAGES_EACH, replace=False).tolist())
    others = sorted(rng.choice(others, min(OTHERS, len(others)), replace=False).tolist()) if others else []
    chosen = [place for places in by_person.values() for place in places] + others
    if len(chosen) < _LEAST:
        return None
    queries = len(evaluation.query)
    features = np.stack(
        [evaluation.query_features[i] if i < queries else evaluation.gallery_features[i - queries] for i in chosen]
    )
    if np.ptp(features, axis=0).max() == 0:
        return None  # all features are equal
    with threadpool_limits(1):  # a thousand tiny steps: many times slower with several threads
        spots = TSNE(
            perplexity=min(30.0, (len(chosen) - 1) / 3), init="pca", learning_rate="auto", random_state=seed
        ).fit_transform(features)
    where = dict(zip(chosen, spots))

    made, (axes,) = figure(10, 6.4)
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=GRID)
    if others:
        grey = spots[-len(others) :]
        axes.scatter(grey[:, 0], grey[:, 1], s=9, color="#c3cad2", linewidths=0, label="other people")
    palette = [colormaps["tab20"](i) for i in (*range(14), *range(16, 20))]  # without its greys
    for person, colour in zip(people, palette):
        places = by_person[person]
        for of_query, marker, size in ((False, "o", 26), (True, "^", 52)):
            points = np.array([where[i] for i in places if (i < queries) == of_query])
            if len(points):
                x, y = points.T
                axes.scatter(x, y, s=size, color=[colour], marker=marker, edgecolors="white", linewidths=0.6)
        points = np.array([where[i] for i in places])
        medoid = int(np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1)))
        shown = pictures.of(records[places[medoid]], 48, 96)
        if shown is None:
            continue
        picture = OffsetImage(np.asarray(shown), zoom=0.4)
        axes.add_artist(
            AnnotationBbox(
                picture,
                tuple(points[medoid]),
                xybox=(16, 21),
                boxcoords="offset points",
                pad=0.12,
                bboxprops={"edgecolor": colour, "linewidth": 1.6, "facecolor": "white"},
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8},
            )
        )
    axes.margins(0.08)
    shapes = "▲ query   ● gallery" + ("   grey: other people" if others else "")
    axes.set_xlabel(f"{shapes}      {len(people)} people, {len(chosen)} images", fontsize=9.5, color=SOFT)
    return made


def _people(evaluation: Evaluation, interesting: Sequence[int], rng: np.random.Generator) -> list[int]:
    chosen = dict.fromkeys(evaluation.query[query].person for query in interesting)
    valid = np.flatnonzero(evaluation.ranking.matches > 0)
    for query in rng.permutation(valid).tolist():
        if len(chosen) >= PEOPLE:
            break
        chosen.setdefault(evaluation.query[query].person)
    return [person for person in chosen if person > DISTRACTOR][:PEOPLE]
