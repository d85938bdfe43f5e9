"""What is recorded for the book: each artefact by name, measured where no record stands yet."""

import difflib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from wbcore.errors import InputError
from wbcore.recording.cells import Cell, Place
from wbcore.recording.foreground_recording import foreground_cells
from wbcore.recording.linear_recording import linear_cells
from wbcore.recording.lost_recording import lost_cells
from wbcore.recording.maskcut_recording import crf_cells, setting_cells
from wbcore.recording.norm_recording import norm_cells
from wbcore.recording.objective_recording import objective_cells
from wbcore.recording.outlier_recording import outlier_cells
from wbcore.recording.prefix_recording import prefix_cells
from wbcore.recording.probe_recording import global_cells, local_cells
from wbcore.recording.segmentation_recording import segmentation_cells
from wbcore.recording.sensitivity_recording import sensitivity_cells
from wbcore.recording.speed_recording import speed_cells
from wbcore.recording.study_recording import (
    ablation_cells,
    epoch_cells,
    layer_cells,
    network_cells,
    noise_cells,
    recognitions,
)
from wbcore.records import RESULTS, save_records
from wbcore.study import RUNS, TRANSFERS

DOVIT = {"dovit": ("dovit_street", "dovit_scenes", "dovit_speed"), "dovit_gpu": ("dovit_street480",)}
"""What is recorded of each study of DoViT."""
ARTEFACTS: dict[str, Callable[[Place], Iterator[Cell]]] = {
    "table2": partial(ablation_cells, "", 72),
    "table2_imagenette": partial(ablation_cells, "_imagenette", 72),
    "table2_gpu_cutouts": partial(ablation_cells, "_gpu_cutouts", 128),
    "table2_gpu_imagenette": partial(ablation_cells, "_gpu_imagenette", 128),
    **{f"table3_{data}": partial(recognitions, f"table3_{data}") for data in TRANSFERS},
    **{
        f"table3_{data}_scratch": partial(recognitions, f"table3_{data}_scratch", ending="_scratch")
        for data in TRANSFERS
    },
    "fig3_pca": foreground_cells,
    "fig6_depth": layer_cells,
    "fig10_epochs": epoch_cells,
    "fig11_12_noise": noise_cells,
    "eq2_objective_by_layer": objective_cells,
    "sensitivity": sensitivity_cells,
    "dovit_street": partial(segmentation_cells, "street"),
    "dovit_scenes": partial(segmentation_cells, "scenes"),
    "dovit_speed": speed_cells,
    "dovit_street480": partial(segmentation_cells, "street480", study="dovit_gpu"),
    **{study: partial(network_cells, study) for study in ("skip_and_projection", "registers")},
    "table1_crf": crf_cells,
    "maskcut_settings": setting_cells,
    "registers_norms": norm_cells,
    "registers_prefix": prefix_cells,
    "registers_lost": lost_cells,
    "registers_linear": linear_cells,
    "registers_local_probes": local_cells,
    "registers_global_probes": global_cells,
    "registers_segmentation": outlier_cells,
}


def cells_of(name: str, place: Place) -> Iterator[Cell]:
    """What an artefact shows.  Raises: InputError for an unknown name, with the nearest known ones."""
    if name not in ARTEFACTS:
        near = difflib.get_close_matches(name, ARTEFACTS, n=3, cutoff=0.3) or list(ARTEFACTS)
        raise InputError(f"nothing is recorded for {name!r}: did you mean {', '.join(near)}?")
    return ARTEFACTS[name](place)


def record_artefact(
    name: str, *, data_root: Path | None = None, device: str = "cpu", runs: Path = RUNS, results: Path = RESULTS
) -> list[Path]:
    """Measure what an artefact shows, on every data set at hand, where no record stands yet.

    Returns the files written.  Raises: InputError for an unknown name.
    """
    written = []
    for cell in cells_of(name, Place(runs, data_root, device)):
        path = cell.file(results / name)
        if not path.is_file():
            save_records(cell.measure(f"wbcore study {name}"), path)
            written.append(path)
    return written
