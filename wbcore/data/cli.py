"""``wbcore data list``, ``check`` and ``get``."""

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from wbcore.data.cutouts import SPLITS
from wbcore.data.install import install
from wbcore.data.registry import DATA_ROOT_VARIABLE, SHIPPED, Source, find_source, locate, open_dataset, sources
from wbcore.data.views import subset
from wbcore.errors import InputError


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``data`` to the command line; each command sets ``run``, a function of the arguments to a status."""
    parser = subparsers.add_parser("data", help="list, check and download data sets")
    commands = parser.add_subparsers(dest="data_command", required=True)

    listing = commands.add_parser("list", help="the known data sets and their licences")
    listing.set_defaults(run=run_list)

    check = commands.add_parser("check", help="open a data set and decode its images and masks")
    check.add_argument("--split", help="one split, or several as in train+val; default: all")
    check.add_argument("--sample", type=int, metavar="N", help="decode N evenly spaced images of each split only")
    check.set_defaults(run=run_check)

    get = commands.add_parser("get", help="download and unpack a data set")
    get.add_argument("--unverified", action="store_true", help="accept a download whose SHA-256 is not known")
    get.set_defaults(run=run_get)

    for command in (check, get):
        command.add_argument("name", help="as `wbcore data list` prints it")
    for command in (listing, check, get):
        command.add_argument("--data-root", metavar="DIR", help=f"where data sets lie; default: ${DATA_ROOT_VARIABLE}")


def run_list(arguments: argparse.Namespace) -> int:
    """Print one line for each data set, and where it was found."""
    for name in sorted(SHIPPED):
        _say(f"{name:18} shipped with the project")
    for source in sources().values():
        counts = ", ".join(f"{split} {count:,}" for split, count in source.splits.items())
        _say(f"{source.name:18} {source.title} ({counts})")
        _say(f"{'':18} {_state(source, arguments.data_root)}; {_download(source)}; licence: {source.licence}")
    return 0


def _state(source: Source, data_root: str | None) -> str:
    try:
        return f"in {locate(source, data_root)}"
    except InputError:
        return "not here"


def _download(source: Source) -> str:
    if not source.archives:
        return f"by hand from {source.homepage}"
    if any(archive.sha256 is None for archive in source.archives):
        return f"unverified download from {source.homepage}"
    size = sum(archive.size or 0 for archive in source.archives)
    return f"{size / 1e9:.1f} GB from {source.homepage}, verified by SHA-256"


def run_check(arguments: argparse.Namespace) -> int:
    """Decode a data set and print one line for each problem; the status is 1 if there was one."""
    source = None if arguments.name in SHIPPED else find_source(arguments.name)
    splits = list(SPLITS)
    if source is not None:
        locate(source, arguments.data_root)
        splits = list(source.splits)
    if arguments.split:
        splits = [arguments.split]
    problems = sum(_check(arguments, split, source) for split in splits)
    return 1 if problems else 0


def _check(arguments: argparse.Namespace, split: str, source: Source | None) -> int:
    title = f"{arguments.name} {split}"
    try:
        dataset = open_dataset(arguments.name, data_root=arguments.data_root, split=split)
        sample = dataset if arguments.sample is None else subset(dataset, arguments.sample)
    except InputError as error:
        _say(f"{title}: {error}")
        return 1
    problems = objects = 0
    for index in tqdm(range(len(sample)), desc=title, disable=None):
        try:
            instances = sample[index].instances
        except InputError as error:
            problems += 1
            _say(f"{title}: {error}")
        else:
            objects += 0 if instances is None else len(instances)
    counted = f", {objects} objects" if objects else ""
    _say(f"{title}: {len(dataset)} images, {len(sample)} decoded{counted}, {problems} problems")
    if source is not None:
        expected = source.splits.get(split)
        if expected is not None and expected != len(dataset):
            _say(f"{title}: the published set has {expected} images, this copy {len(dataset)}")
            problems += 1
        recorded = source.fingerprints.get(split)
        if recorded is not None:
            same = "equals" if recorded == dataset.fingerprint else "differs from"
            _say(f"{title}: fingerprint {dataset.fingerprint} {same} the recorded one")
    return problems


def run_get(arguments: argparse.Namespace) -> int:
    """Download a data set unless it is there already."""
    source = find_source(arguments.name)
    data_root = arguments.data_root or os.environ.get(DATA_ROOT_VARIABLE)
    if not data_root:
        raise InputError(f"data get {source.name} needs --data-root (or {DATA_ROOT_VARIABLE}): the folder to put it in")
    state = _state(source, data_root)
    if state != "not here":
        _say(f"{source.name} is there already, {state}; `wbcore data check {source.name}` tells whether it is whole")
        return 0
    _say(f"{source.name}: {source.title}; licence: {source.licence}")
    folder = install(source, Path(data_root), unverified=arguments.unverified)
    unverified = any(archive.sha256 is None for archive in source.archives)
    _say(f"{source.name} is in {folder}{' (unverified: its SHA-256 is not known)' if unverified else ''}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
