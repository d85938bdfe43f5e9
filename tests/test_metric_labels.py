"""Metrics have short names."""

from wbcore.metric_labels import metric_label


def test_names_of_metrics():
    assert metric_label("maskcut_bbox/ap50") == "det AP50"
    assert metric_label("attention_miou/mass60/layer-1") == "mIoU, last layer"
    assert metric_label("attention_miou/entries60/layer-2") == "mIoU, 60 % of entries, last but one"
    assert metric_label("pca_foreground_iou/code/layer-1") == "IoU, rule of the code, last layer"
    assert metric_label("something") == "something"
