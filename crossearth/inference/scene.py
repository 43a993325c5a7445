# SPDX-License-Identifier: Apache-2.0
"""One scene -> its map and polygons: what the command line, Python and a cluster have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossearth import __version__
from crossearth.errors import ConfigError, MissingDependencyError, RasterError
from crossearth.inference.card import Card
from crossearth.inference.pipeline import (
    Plan,
    PredictionReport,
    PredictOptions,
    plan,
    predict_raster,
)
from crossearth.inference.predictor import Predictor
from crossearth.inference.raster import RasterReader, open_raster, raster_info
from crossearth.inference.sources import is_remote, scene_name

__all__ = [
    'RUNTIMES', 'SceneOptions', 'check_scene', 'finish_scene', 'load_model', 'open_scene',
    'predict', 'predict_scene']

RUNTIMES = ('torch', 'onnx')
# From here on another pixel size than in training is worth a warning.
UNLIKE = 1.5


@dataclass(frozen=True)
class SceneOptions(PredictOptions):
    """How a scene is read, mapped and written; also all of `PredictOptions`.

    Args:
        tile: Side of a tile in px; 0 takes the crop of the model's training.
        bands: Numbers of the bands, from 1, in the model's order; None takes the file's.
        scale: Lowest and highest value of the data, which become 0 and 255; None for 8-bit data.
        gsd: Pixel size to work at: `native`, `model` or metres.
        aoi: Vector file; nothing outside its polygons is mapped.
        on_bad_tile: `fail`, or `nodata` to go on without what cannot be read.
        vector: File for the map as polygons (.gpkg, .geojson, .fgb).
        min_area: Smaller polygons are left out, in square metres (square pixels without CRS).
        simplify: Tolerance of simplified borders, in metres or pixels.
        allow_no_crs: Write polygons in pixels where there is no coordinate system.
        check_disk: Refuse to start where the outputs may not fit.
    """

    tile: int = 0
    bands: Sequence[int] | None = None
    scale: tuple[float, float] | None = None
    gsd: str | float = 'native'
    aoi: str | Path | None = None
    on_bad_tile: str = 'fail'
    vector: str | Path | None = None
    min_area: float = 0.0
    simplify: float = 0.0
    allow_no_crs: bool = False
    check_disk: bool = True

    def fitted(self, card: Card) -> 'SceneOptions':
        """With the tile and overlap of the model where none are given."""
        if self.tile:
            return self
        return replace(self, tile=min(card.crop),
                       overlap=card.overlap if self.overlap is None else self.overlap)


def load_model(
    model: str | Path,
    *,
    device: str = 'auto',
    amp: bool = False,
    tta: str = 'none',
    runtime: str = 'torch',
) -> Predictor:
    """Load a model that is ready to map scenes.

    Args:
        model: A bundle.
        device: `auto`, or a name of torch such as `cpu` or `cuda:1`.
        amp: Compute in bfloat16 where it is safe.
        tta: `d4` averages over flips and quarter turns; `none` does not.
        runtime: `torch`, or `onnx` for the bundle's `model.onnx` of `crossearth export onnx`.

    Raises:
        CrossEarthError: The model is incomplete or damaged, or there is no such device.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f'--runtime {runtime!r} is unknown. Choose one of: '
                          f'{", ".join(RUNTIMES)}.')
    if runtime == 'onnx':
        from crossearth.inference.onnx_runtime import load_onnx_predictor

        return load_onnx_predictor(model, tta=tta)
    from crossearth.inference.bundle import load_predictor

    return load_predictor(model, device=device, amp=amp, tta=tta)


def predict(
    source: str | Path, model: str | Path | Predictor, output: str | Path, **options: Any
) -> PredictionReport:
    """Map one scene.

    Args:
        source: A raster of any size, or an address that GDAL reads.
        model: A bundle, or what `load_model` gave.
        output: The map, a GeoTIFF.
        **options: Fields of `SceneOptions`.

    Returns:
        Written files, areas of the classes, and what happened on the way.

    Raises:
        CrossEarthError: The scene, the model or the options do not fit.
    """
    predictor = model if isinstance(model, Predictor) else load_model(model)
    return predict_scene(source, predictor, output, SceneOptions(**options))


def predict_scene(
    source: str | Path,
    predictor: Predictor,
    output: str | Path,
    options: SceneOptions,
    *,
    planned: Callable[[Plan, RasterReader], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> PredictionReport:
    """Map one scene, and make polygons of the map where they are asked for.

    Args:
        source: As of `predict`.
        predictor: The network, with its card.
        output: The map.
        options: How.
        planned: Called with what the run needs before it starts.
        progress: Called with the tiles done and their number.
        warn: Called with a sentence when something was done otherwise than asked for.

    Raises:
        CrossEarthError: As of `predict`.
    """
    card: Card = predictor.card
    options = options.fitted(card)
    reader = check_scene(source, predictor, output, options, planned)
    tags = {'software': f'crossearth {__version__}', 'source': scene_name(source),
            'model_sha256': card.sha256, **options.tags}
    report = predict_raster(
        reader, predictor, output, classes=card.classes, palette=card.palette,
        options=replace(options, tags=tags), progress=progress, warn=warn)
    report = replace(report, warnings=(*report.warnings, *_unlike(reader, card, options)))
    if options.vector:
        _write_polygons(output, card, options)
        report = replace(report, outputs={**report.outputs, 'vector': str(options.vector)})
    return report


def check_scene(
    source: str | Path,
    predictor: Predictor,
    output: str | Path,
    options: SceneOptions,
    planned: Callable[[Plan, RasterReader], None] | None = None,
) -> RasterReader:
    """Open a scene and say at once what would end its run after hours.

    Args:
        source: As of `predict`.
        predictor: The network, with its card.
        output: The map.
        options: How, fitted to the card.
        planned: As of `predict_scene`.

    Raises:
        CrossEarthError: As of `predict`.
    """
    reader = open_scene(source, predictor.card, options)
    if options.vector:
        _check_vector(reader, options)
    needs = plan(reader, predictor.num_classes, output, options)
    if planned:
        planned(needs, reader)
    if options.check_disk and needs.disk_bytes > needs.free_bytes:
        raise RasterError(
            f'{output} may need up to {needs.disk_bytes / 1e6:,.0f} MB, and '
            f'{needs.free_bytes / 1e6:,.0f} MB are free. Free space, choose another disk or a '
            'smaller area (--aoi), or give --no-disk-check: maps compress well.')
    return reader


def finish_scene(
    output: str | Path, predictor: Predictor, options: SceneOptions
) -> dict[str, str] | None:
    """Recognise a map that an earlier run finished, and make its polygons if they are missing.

    Args:
        output: The map.
        predictor: The network that made it.
        options: How; they only count where `resume` is set.

    Returns:
        Its files by kind; None where there is work left.

    Raises:
        RasterError: The map was made by another model.
    """
    wanted = {'map': output, 'confidence': options.confidence, 'scores': options.scores}
    outputs = {kind: str(path) for kind, path in wanted.items() if path}
    if not options.resume or options.overwrite or not Path(output).exists():
        return None
    with open_raster(output) as file:
        if file.tags().get('model_sha256') != predictor.card.sha256:
            raise RasterError(f'{output} exists, and was not made by this model. Give --overwrite '
                              'to replace it, or another name.')
    if missing := [path for path in outputs.values() if not Path(path).exists()]:
        raise RasterError(f'{output} exists, but {missing[0]} does not. Give --overwrite to make '
                          'both again.')
    if options.vector:
        outputs['vector'] = str(options.vector)
        if not Path(options.vector).exists():
            _write_polygons(output, predictor.card, options)
    return outputs


def open_scene(source: str | Path, card: Card, options: SceneOptions) -> RasterReader:
    """Open a scene as a model wants it.

    Raises:
        CrossEarthError: See `RasterReader` and `read_area`.
    """
    remote = is_remote(str(source))
    aoi = None
    if options.aoi is not None:
        from crossearth.inference.aoi import read_area

        aoi = read_area(options.aoi, raster_info(source, remote=remote).grid)
    return RasterReader(
        source, bands=options.bands, expected=card.bands, scale=options.scale,
        gsd_m=_pixel_size(options.gsd, card), aoi=aoi, on_bad_tile=options.on_bad_tile,
        remote=remote)


def _pixel_size(gsd: str | float, card: Card) -> float | None:
    """Metres, or None for the raster's own."""
    if gsd == 'native':
        return None
    if gsd == 'model':
        if card.gsd_m is None:
            raise ConfigError('--gsd model: the model does not say which pixel size it was trained '
                              'on. Give metres, or export its bundle again with --gsd.')
        return card.gsd_m
    try:
        return float(gsd)
    except ValueError:
        raise ConfigError(f'--gsd {gsd!r} is neither model, native nor a number of metres.'
                          ) from None


def _unlike(reader: RasterReader, card: Card, options: SceneOptions) -> list[str]:
    """A warning where the pixels have another size than those of the training."""
    size = reader.info.gsd_m
    if options.gsd != 'native' or not size or not card.gsd_m or (
            1 / UNLIKE < size / card.gsd_m < UNLIKE):
        return []
    return [f'Its pixels are {size:.3g} m wide, those of the training {card.gsd_m:.3g} m. Try '
            '--gsd model.']


def _check_vector(reader: RasterReader, options: SceneOptions) -> None:
    """Say before the run what would end it after hours."""
    from crossearth.inference.vectorize import FORMATS

    path = Path(str(options.vector))
    if missing := [name for name in ('shapely', 'pyogrio') if find_spec(name) is None]:
        raise MissingDependencyError(f'--vector needs {" and ".join(missing)}. Run: pip install '
                                     "'crossearth[geo]'.")
    if path.suffix.lower() not in FORMATS:
        raise RasterError(f'{path} has no ending of a vector format. Choose one of: '
                          f'{", ".join(FORMATS)}.')
    if path.exists() and not options.overwrite:
        raise RasterError(f'{path} exists. Give --overwrite to replace it, or another name.')
    if (reader.grid.crs is None or reader.grid.transform is None) and not options.allow_no_crs:
        raise RasterError(f'{reader.info.path} lacks a coordinate system or a transform, so its '
                          'polygons would lie nowhere. Leave --vector out, or give --allow-no-crs '
                          'for polygons in pixels.')


def _write_polygons(output: str | Path, card: Card, options: SceneOptions) -> None:
    from crossearth.inference.vectorize import vectorize

    vectorize(output, str(options.vector), min_area=options.min_area, simplify=options.simplify,
              classes=card.classes, palette=card.palette, confidence=options.confidence,
              allow_no_crs=options.allow_no_crs, overwrite=options.overwrite)
