# SPDX-License-Identifier: Apache-2.0
"""Package metadata: `requirements.txt` is the core, an extra is what one purpose needs besides."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def version() -> str:
    """The version in `crossearth/__init__.py`, read without importing the package."""
    text = (ROOT / 'crossearth' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'$", text, re.MULTILINE)[1]


def core() -> list[str]:
    """The lines of `requirements.txt` without comments."""
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in (line.partition('#')[0].strip() for line in lines) if line]


EXTRAS = {
    # `make demo` also installs packages of data with `--no-deps`, see the Makefile
    'demo': ['onnx>=1.16'],
    'geo': ['rasterio>=1.3.10', 'shapely>=2.1', 'pyogrio>=0.8'],
    'viz': ['umap-learn>=0.5.6', 'scikit-learn>=1.4', 'pandas>=2.2'],
    'export': ['onnx>=1.16', 'onnxruntime>=1.18', 'onnxscript>=0.5'],
    'hub': ['huggingface_hub>=0.24'],
    'app': ['pyogrio>=0.8', 'rasterio>=1.3.10', 'shapely>=2.1', 'starlette>=0.40',
            'uvicorn>=0.30'],
    'track': ['tensorboard>=2.16'],
    'scale': ['ray>=2.30'],
    'backbones': ['timm>=1.0.9'],
    'xformers': ['xformers>=0.0.27'],
    'notebooks': ['jupyterlab>=4.2', 'pyogrio>=0.8', 'rasterio>=1.3.10', 'shapely>=2.1'],
    'docs': ['mkdocs>=1.6,<2', 'mkdocs-material>=9.5,<10', 'mkdocstrings[python]>=1,<2'],
    # the oracle of the parity tests; mmdetection itself comes with `--no-deps`, see the Makefile
    'parity': ['pycocotools>=2.0.8', 'shapely>=2.0', 'six>=1.16'],
    'dev': [
        'hypothesis>=6.100', 'import-linter>=2.0', 'ipykernel>=6.29', 'jsonschema>=4.18',
        'mypy>=1.13', 'nbclient>=0.10', 'nbformat>=5.10', 'onnx>=1.16', 'onnxruntime>=1.18',
        'onnxscript>=0.5', 'playwright>=1.40', 'pre-commit>=3.7',
        'pyogrio>=0.8', 'pytest>=8.0', 'pytest-timeout>=2.3', 'pytest-xdist>=3.6',
        'rasterio>=1.3.10', 'ray>=2.30', 'ruff>=0.8', 'scikit-learn>=1.4', 'shapely>=2.1',
        'starlette>=0.40', 'uvicorn>=0.30',
    ],
}

if __name__ == '__main__':
    setup(
        name='crossearth',
        version=version(),
        description='Segmentation of remote-sensing imagery in places a model has never seen',
        license='Apache-2.0',
        python_requires='>=3.10',
        packages=find_packages(include=['crossearth', 'crossearth.*']),
        package_data={'crossearth': ['data/*.csv'], 'crossearth.app': ['page/*'],
                      'crossearth.style': ['data/*.safetensors']},
        entry_points={'console_scripts': ['crossearth=crossearth.cli.main:main']},
        install_requires=core(),
        extras_require=EXTRAS,
    )
