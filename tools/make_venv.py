"""Make a virtual environment with pip in it, also where Debian's python3-venv is not installed.

Usage: python3 tools/make_venv.py .venv

Without that package Python has no ``ensurepip``; pip is then fetched from the package index, by its hash.
"""

import hashlib
import html
import importlib.util
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
import venv
from pathlib import Path

PIP = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
REMEDY = "install Debian's package python3-venv (apt-get install python3-venv) and run again"


def fetch_pip(folder: Path) -> Path:
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    page = read(index).decode()
    link = re.search(rf'href="([^"#]*{re.escape(PIP)})', page)
    if link is None:
        raise ValueError(f"{index} does not offer {PIP}")
    content = read(urllib.parse.urljoin(index, html.unescape(link[1])))
    if hashlib.sha256(content).hexdigest() != PIP_SHA256:
        raise ValueError(f"{PIP} from {index} is not the file that was tested")
    wheel = folder / PIP
    wheel.write_bytes(content)
    return wheel


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def main(folder: Path) -> int:
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        print(
            f"Python 3.11 or 3.12 is needed, this is {sys.version.split()[0]}: set PYTHON=python3.11", file=sys.stderr
        )
        return 2
    has_pip = importlib.util.find_spec("ensurepip") is not None
    venv.create(folder, with_pip=has_pip, clear=True, symlinks=True)
    if has_pip:
        return 0
    try:
        wheel = fetch_pip(folder)
    except (OSError, ValueError) as error:
        print(f"{folder} has no pip, and it could not be fetched ({error}): {REMEDY}", file=sys.stderr)
        return 2
    return subprocess.call([folder / "bin" / "python", f"{wheel}/pip", "install", "--quiet", "--no-index", wheel])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
