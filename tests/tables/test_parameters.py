"""Parameters stand beside what was printed, by two routes."""

from wbcore import tables
from wbcore.models import BackboneConfig


def test_print_formula_and_count():
    config = BackboneConfig(image_size=64, num_classes=0, dim=64, depth=3, heads=2)
    table = tables.parameter_table({"crate": config, "vit": config}, {"crate": 0.1, "vit": 0.004})
    one, other = table.to_dict("records")
    assert list(table.index) == ["CRATE", "ViT"]
    assert one["paper"] == "0.10"
    assert one["formula"] == one["counted"] == other["counted"]
    million = int(one["formula"].replace(",", "")) / 1e6
    assert (one["off by"], other["off by"]) == (f"{million - 0.1:+.2f}", f"{million - 0.004:+.2f}")
    assert (one["feedforward"], one["head"]) == (f"{3 * 64**2 / 1e6:.2f}", "0.00")
