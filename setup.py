"""Metadata of the distribution `ocrzoo`: three packages and the command `zoo`."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "zoo/__init__.py").read_text(), re.MULTILINE)[1]

PACKAGES = ("zoo", "zoo.*", "recipes", "recipes.*", "serving", "serving.*")
CORE = [
    "keras>=3.15",
    "numpy>=1.26",
    "onnxruntime>=1.20",
    "opencv-python-headless>=5.0",
    "pillow>=10.3",
    "pyclipper>=1.3",
    "pypdfium2>=4.30",
    "safetensors>=0.4.3",
]
TENSORFLOW = ["tensorflow>=2.21", "tf2onnx>=1.17"]
TRAIN = [*TENSORFLOW, "fonttools>=4.50", "matplotlib>=3.8", "scipy>=1.11", "spylls>=0.1.7", "tensorboard>=2.18"]
CLIENT = ["grpcio>=1.60", "protobuf>=4.25"]
SERVE = [*TENSORFLOW, *CLIENT]
PATTERNS = ["regex>=2024.5"]
CHECK = ["import-linter>=2.1", "mypy>=1.13", "ruff>=0.9"]
EXTRAS = {
    "tensorflow": TENSORFLOW,  # networks in this process, and ONNX files made from them
    "jax": ["jax>=0.10"],  # the same networks trained without TensorFlow: KERAS_BACKEND=jax
    "train": TRAIN,  # zoo train
    "export": TENSORFLOW,  # zoo export
    "serve": SERVE,  # zoo serve
    "client": CLIENT,  # zoo read --server, serving.client: without TensorFlow
    "patterns": PATTERNS,  # zoo read --only amount, date, regex:…
    "ray": ["ray[data]>=2.60"],  # zoo read --engine ray: pages on a cluster
    "hub": ["keras-hub>=0.32", "keras-cv>=0.9"],  # further backbones, preprocessing layers
    "test": [
        *TRAIN,
        *SERVE,
        *PATTERNS,
        "hypothesis>=6.100",
        "psutil>=5.9",
        "pytest>=8.2",
        "pytest-xdist>=3.6",
        "pyyaml>=6.0",
        "shapely>=2.0",
        "tensorflow-serving-api>=2.21",
        *CHECK,
    ],
    # moto: a bucket of S3 on this machine, for tests of ray; tensorflow-text: for a slow test of the server
    "dev": [*CHECK, "build>=1.2", "moto[server,s3]>=5", "tensorflow-text>=2.21"],
}
EXTRAS["all"] = sorted({*TRAIN, *SERVE, *PATTERNS, *EXTRAS["hub"]})

setup(
    name="ocrzoo",
    version=VERSION,
    description="An OCR model zoo in Keras 3 on TensorFlow: train, read pages, serve over gRPC",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_namespace_packages(include=PACKAGES, exclude=["*.__pycache__"]),
    package_data={
        "zoo.cards": ["*.toml", "*.safetensors", "*.onnx", "*.npz"],
        "zoo.languages": ["*.npz", "*.md"],
        "recipes.data": ["words/*.txt"],
    },
    include_package_data=False,
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["zoo = zoo.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Operating System :: OS Independent",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
