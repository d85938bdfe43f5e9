"""How many parameters the models have, beside what a paper printed."""

from collections.abc import Mapping

import pandas as pd

from wbcore.labels import label
from wbcore.metrics.parameters import parameters_by_part
from wbcore.models.backbone import BackboneConfig
from wbcore.models.counting import parameters_by_count


def parameter_table(configs: Mapping[str, BackboneConfig], printed: Mapping[str, float]) -> pd.DataFrame:
    """Parameters of each model: what a paper printed, in millions, and ours by part, by formula and by count.

    The last column is how many millions the count is off the print, whose last digit may be rounded.
    """
    rows = []
    for name, config in configs.items():
        formula, counted = parameters_by_part(config), parameters_by_count(config)
        rows.append(
            {
                "paper": f"{printed[name]:.2f}",
                **{part: f"{number / 1e6:.2f}" for part, number in formula.items()},
                "formula": f"{sum(formula.values()):,}",
                "counted": f"{sum(counted.values()):,}",
                "off by": f"{sum(counted.values()) / 1e6 - printed[name]:+.2f}",
            }
        )
    return pd.DataFrame(rows, index=pd.Index([label(name) for name in configs], name="model"))
