"""A paper's numbers come from its file."""

import pytest

from wbcore.errors import InputError
from wbcore.records import paper_values


def test_papers_values(tmp_path):
    rows = paper_values("crate_table2")
    assert {row["value"] for row in rows if row["metric"] == "attention_miou"} == {"23.9", "22.0", "18.4", "14.1"}
    (tmp_path / "known.csv").write_text("model\n")
    with pytest.raises(InputError, match="known"):
        paper_values("other", tmp_path)
