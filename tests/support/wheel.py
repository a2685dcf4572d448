"""The wheel, built as a release is, and an environment that holds what it needs and nothing else, made offline."""

import os
import re
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

from tests.support.stack import ROOT

_BUILD = ("-m", "hatchling", "build", "-t", "wheel", "-d")


def built_wheel(project: Path, folder: Path) -> Path:
    """The project's wheel, in `folder`."""
    subprocess.run([sys.executable, *_BUILD, folder], cwd=project, capture_output=True, check=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    return wheel


def shipped_environment(folder: Path, wheel: Path) -> Path:
    """The folder of programs of a new environment: the packages that the image locks, and the wheel.

    The packages are those of the environment that runs the tests, file by file, so that no index is asked; what it has
    beside them is not there.
    """
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (place,) = folder.glob("lib/python*/site-packages")
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "deploy" / "requirements.lock").read_text(), re.MULTILINE):
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            # For another Python or system; `uv pip check` says if it was not.
            continue
        _take_over(found, place)
    uv = Path(sys.executable).with_name("uv")
    offline = ("--offline", "--no-cache", "--python", str(python))
    for arguments in (("install", *offline, "--no-deps", str(wheel)), ("check", "--python", str(python))):
        done = subprocess.run([uv, "pip", *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
    return python.parent


def _take_over(found: metadata.Distribution, place: Path) -> None:
    for file in found.files or ():
        # Programs of other packages, outside of the packages' folder, are not needed.
        source = Path(str(found.locate_file(file)))
        if ".." in file.parts or "__pycache__" in file.parts or not source.is_file():
            continue
        target = place / file
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
