"""The pictures in docs/images: drawn people found again by the built-in checkpoint, also in a gallery, charts of their
report, and video.

python -m benchmarks.pictures [--out docs/images]
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from osnet import evaluate
from osnet.drawn.dataset import draw_dataset
from osnet.drawn.video import draw_video
from osnet.evaluation.evaluate import Evaluation
from osnet.gallery.enrol import add_images
from osnet.gallery.gallery import Gallery
from osnet.report.charts import BLUE, GREEN, INK, RED, png
from osnet.report.matches import MATCH, NOT_COUNTED, by_difficulty, ranked_lists
from osnet.report.report import write_report

ANSWERS = 8
SHOWN = 5
CHARTS = ("activation", "similarities")
LARGEST = (900, 700)
COLOURS = ("#ff5050", "#50d050", "#60a0ff", "#ffd040", "#e070ff", "#40e0e0", "#ff9040")


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
                _tile(axes, picture, title, colour)
    return made


def boxed_frames(root: Path, sequences: tuple[str, ...], frames: tuple[int, ...]) -> Image.Image:
    """A row for each sequence of a drawn video: those frames, with the boxes and ids of the people in view."""
    rows = []
    for name in sequences:
        truth = [line.split(",") for line in (root / name / "gt" / "gt.txt").read_text().splitlines()]
        for frame in frames:
            with Image.open(root / name / "img1" / f"{frame:06d}.jpg") as opened:
                picture = opened.convert("RGB")
            draw = ImageDraw.Draw(picture)
            for shown, person, left, top, width, height, _, _, visibility in truth:
                if int(shown) != frame or float(visibility) < 0.1:
                    continue
                x, y, colour = int(left) - 1, int(top) - 1, COLOURS[int(person) % len(COLOURS)]
                draw.rectangle((x, y, x + int(width) - 1, y + int(height) - 1), outline=colour, width=2)
                draw.text((x + 3, y - 13), person, fill=colour, stroke_width=2, stroke_fill="black")
            rows.append(picture)
    width, height = rows[0].size
    sheet = Image.new("RGB", (width * len(frames), height * len(sequences)))
    for place, picture in enumerate(rows):
        sheet.paste(picture, (place % len(frames) * width, place // len(frames) * height))
    return sheet


def draw_search(data: Path, found: Evaluation, where: Path) -> Figure:
    """A row for each search of a gallery that holds half of the people: two who are enrolled and one who is not.

    The threshold is that at which one in ten unenrolled people would be taken for somebody.
    """
    with Gallery.create(where, "osnet_x0_25_drawn", thumbnails=(128, 64)) as gallery:
        people = sorted({record.person for record in found.query})
        enrolled = set(people[::2])
        paths = sorted(record.path for record in found.gallery if record.person in enrolled)
        add_images(gallery, paths, labels="market", attributes={"site": "north"})
        queries = [record for record in found.query if record.path.is_relative_to(data)]
        plain = gallery.search([record.path for record in queries], limit=1)
        best = [result.matches[0].similarity for result in plain]
        outside = sorted((one for record, one in zip(queries, best) if record.person not in enrolled), reverse=True)
        threshold = outside[len(outside) // 10]
        results = gallery.search([record.path for record in queries], group=True, limit=SHOWN, threshold=threshold)
        right = [i for i, one in enumerate(results) if one.identity and int(one.identity) == queries[i].person]
        refused = [i for i, one in enumerate(results) if one.unknown and queries[i].person not in enrolled]
        chosen = [right[len(right) // 3], right[2 * len(right) // 3], refused[len(refused) // 2]]
        made = Figure(figsize=(1.2 * (SHOWN + 1) + 1.6, 2.5 * len(chosen) + 0.1), facecolor="white")
        grid = made.add_gridspec(
            len(chosen), SHOWN + 2, width_ratios=[1, 1.2] + [1] * SHOWN, left=0.01, right=0.99, top=0.95, bottom=0.01
        )
        for row, place in enumerate(chosen):
            answer = results[place]
            with Image.open(queries[place].path) as picture:
                _tile(made.add_subplot(grid[row, 0]), picture, "query", BLUE)
            text = made.add_subplot(grid[row, 1])
            text.axis("off")
            words = f"unknown\n(below {threshold:.2f})" if answer.unknown else f"this is\n{answer.identity}"
            colour = RED if answer.unknown else GREEN
            text.text(0.5, 0.5, words, ha="center", va="center", fontsize=12, color=colour)
            for column, match in enumerate(answer.matches, 2):
                same = match.entry.identity is not None and int(match.entry.identity) == queries[place].person
                with Image.open(io.BytesIO(gallery.thumbnail(match.entry.id) or b"")) as picture:
                    title = f"{match.entry.identity}   {match.similarity:.2f}"
                    _tile(made.add_subplot(grid[row, column]), picture, title, GREEN if same else RED)
    return made


def _tile(axes: Any, picture: Image.Image, title: str, colour: str) -> None:
    axes.imshow(picture.convert("RGB"))
    axes.set_title(title, fontsize=9, color=INK, pad=4)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color=colour, linewidth=3)


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
        chosen = [ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.9, 0.98)]
        save(png(draw_ranked_lists(found, chosen)), out / "ranked.jpg")
        save(png(draw_search(data, found, Path(folder) / "people.gallery")), out / "gallery-search.jpg")
        report = write_report(found, Path(folder) / "report").parent
        for name in CHARTS:
            save((report / f"{name}.png").read_bytes(), out / f"report-{name}.jpg")
        walk = draw_video(Path(folder) / "walk", cameras=3, seconds=14, seed=1)
        buffer = io.BytesIO()
        boxed_frames(walk.root, walk.sequences[:2], (20, 140)).save(buffer, "PNG")
        save(buffer.getvalue(), out / "drawn-video.jpg")
    print(f"mAP {found.mAP:.3f}, Rank-1 {found.ranking.cmc[0]:.3f}, queries at 50, 90 and 98 % of their difficulty")


if __name__ == "__main__":
    main()
