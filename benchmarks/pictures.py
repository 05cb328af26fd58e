"""The pictures in docs/images: drawn people found again by the built-in checkpoint, and charts of their report.

python -m benchmarks.pictures [--out docs/images]
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from osnet import evaluate
from osnet.drawn.dataset import draw_dataset
from osnet.evaluation.evaluate import Evaluation
from osnet.report.charts import BLUE, GREEN, INK, RED, png
from osnet.report.matches import MATCH, NOT_COUNTED, by_difficulty, ranked_lists
from osnet.report.report import write_report

ANSWERS = 8
CHARTS = ("activation", "similarities")
LARGEST = (900, 700)


def draw_ranked_lists(found: Evaluation, queries: list[int]) -> Figure:
    """A row for each query: its picture, then the gallery images that are most similar, nearest first."""
    made = Figure(figsize=(1.05 * (ANSWERS + 1) + 0.3, 2.3 * len(queries) + 0.15), facecolor="white")
    grid = made.add_gridspec(
        len(queries), ANSWERS + 2, width_ratios=[1, 0.12] + [1] * ANSWERS, left=0.01, right=0.99, top=0.96, bottom=0.01
    )
    lists = ranked_lists(found, queries, count=ANSWERS, not_counted=0)
    for row, (query, answers) in enumerate(zip(queries, lists)):
        tiles = [(0, found.query[query].path, "query", BLUE)]
        counted = [answer for answer in answers if answer.verdict != NOT_COUNTED]
        for column, answer in enumerate(counted, 2):
            colour = GREEN if answer.verdict == MATCH else RED
            tiles.append((column, found.gallery[answer.place].path, f"{answer.rank}   {answer.similarity:.2f}", colour))
        for column, path, title, colour in tiles:
            axes = made.add_subplot(grid[row, column])
            with Image.open(path) as picture:
                axes.imshow(picture.convert("RGB"))
            axes.set_title(title, fontsize=9, color=INK, pad=4)
            axes.set_xticks([])
            axes.set_yticks([])
            for side in axes.spines.values():
                side.set(color=colour, linewidth=3)
    return made


def save(content: bytes, path: Path) -> None:
    """Write the PNG `content` as a small JPEG."""
    with Image.open(io.BytesIO(content)) as picture:
        small = picture.convert("RGB")
        small.thumbnail(LARGEST, Image.Resampling.LANCZOS)
        small.save(path, quality=85, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "people"
        draw_dataset(data, identities=60, seed=2, train_fraction=0.02)
        found = evaluate("osnet_x0_25_drawn", data, cache=False)
        ordered = by_difficulty(found).tolist()
        chosen = [ordered[int(share * (len(ordered) - 1))] for share in (0.25, 0.5, 0.75)]
        save(png(draw_ranked_lists(found, chosen)), out / "ranked.jpg")
        report = write_report(found, Path(folder) / "report").parent
        for name in CHARTS:
            save((report / f"{name}.png").read_bytes(), out / f"report-{name}.jpg")
    print(f"mAP {found.mAP:.3f}, Rank-1 {found.ranking.cmc[0]:.3f}, queries at 25, 50 and 75 % of their difficulty")


if __name__ == "__main__":
    main()
