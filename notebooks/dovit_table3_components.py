# %% [markdown]
# (chapter-dovit-table3)=
# # Which part of DoViT holds the accuracy?
#
# **The claim** ({cite:t}`liu2023dynamic`, Table 3 and section 4.3).  Two parts make up for the tokens that stop.  *Token merging*
# puts their mean into the class token, so that the tokens that go on can still attend to what they held, and
# *self-distillation* has the dense model teach the dynamic one.  Each raises mIoU, and with both DoViT is almost level with the
# dense model.
#
# **Our question.**  Does either part show when each of them is left out of the training in turn?

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 0
limit = None

# %%
import time
from dataclasses import replace

from wbcore import plots, profiles, records, tables
from wbcore.figures import cost_plots
from wbcore.measuring import segmentation
from wbcore.records import Origin
from wbcore.tables import segmentation_tables

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)

# %% [markdown]
# ## What the paper says
#
# For SETR with ViT-B on Cityscapes.  The cells of its Table 3 are not known to us, so this column holds what its text says of
# them.

# %% table={"name": "tab-dovit-table3-paper", "caption": "What the paper's text says of the two parts."}
segmentation_tables.statement_table("section 4.3, components")

# %% [markdown]
# ## What we recorded
#
# SETR with a ViT-Ti/16 on the test photographs of CamVid, the models trained on from one dense model for the same epochs, each
# without one part, or both.  Columns as in {ref}`chapter-dovit-table1`.

# %% table={"name": "tab-dovit-table3", "caption": "The parts of DoViT left out in turn: accuracy, cost of an image, what is saved of it, and parameters. Recorded, the first training run of each model."}
recorded = records.load_records(records.RESULTS / "dovit_street")
names = [f"setr_vit_tiny_{variant}" for variant in ("dense", "plain", "nodistil", "nomerge", "dovit")]
segmentation_tables.accuracy_table("recorded (lab)", recorded, names, data="camvid")

# %% [markdown]
# Each against the whole of DoViT, photograph by photograph.  A part helps where the difference without it is below zero.

# %% table={"name": "tab-dovit-table3-difference", "caption": "Each model minus DoViT with both parts, over the same photographs."}
segmentation_tables.difference_table(recorded, names, data="camvid", reference="dovit")

# %% [markdown]
# ## Three training runs
#
# Those intervals are over photographs: they tell whether *these* weights are better than *those* on other street scenes of the same
# kind, and not whether the part is the reason.  Two trainings of one and the same model, with other crops in another order, also
# differ.  So each was trained three times, all models of a run from the same dense base.  We expected, before the second run
# was trained, that this decides neither part: the paper's effects are a few tenths of a point, and trainings differ by about half
# a point.

# %% table={"name": "tab-dovit-table3-runs", "caption": "Each model minus DoViT with both parts of the same run: the mean difference of three runs, with 95 % intervals over other runs."}
segmentation_tables.difference_table(recorded, names, data="camvid", reference="dovit", over="runs")

# %% mystnb={"figure": {"name": "fig-dovit-table3-runs", "caption": "mIoU of each model minus that of DoViT with both parts: a dot for each training run, a tick at their mean, and a band for its 95 % interval."}, "image": {"alt": "Four rows, the dense model and DoViT without one part or both, each with three dots and a wide band across them, beside an upright line at zero."}}
apart = segmentation_tables.run_differences(recorded, names, data="camvid", reference="dovit")
cost_plots.run_differences(apart, unit="mIoU minus that of DoViT (points)")
plots.plt.show()

# %% table={"name": "tab-dovit-table3-claims", "caption": "What the records say of the paper's statements on the two parts."}
tables.claims_table(recorded, "dovit_table3_components")

# %% [markdown]
# **What the records say.**  Neither part shows.  Left out, each moves the mean of three runs by a tenth of a point or less.  The models of
# one run, which share their base and their crops, differ less from each other than we expected, so the runs do bound the effect:
# distillation is worth no more than 0.3 points here, merging no more than 0.6 either way.  One run by itself had said more: over its
# photographs distillation helped a little and merging hurt a little, both with intervals clear of zero, and the two runs after it
# have merging help.  An interval over photographs tells these weights from those, and not one recipe from another.
#
# The gap to the dense model is 0.7 points in the mean, more than the paper's 0.2; whether it is in other runs is undecided.
# A class token that SETR's decoder never reads can carry what it is given only through the attention of the later
# layers, which in so small a model is perhaps too little to show.
#
# ## This run
#
# Merging can also be changed without training.  Here the weights of DoViT that are at hand, all trained with the official code's
# rule, ½·(cls + mean), are run with it, with Eq. 8 as printed, ½·cls + mean, and without any: how much do the later
# layers rely on what the class token tells them of the tokens that stopped?

# %% tags=["nbval-ignore-output"] table={"name": "tab-dovit-table3-live", "caption": "DoViT's weights with other rules of merging, minus the rule they were trained with, in this run."}
plan = chosen.segmentations["scenes"]
scenes = plan.open(data_root, limit)
models = chosen.segmenters("scenes", data_root=data_root, device=device)
measured = [
    one
    for name, (model, card) in models.items()
    for rule in ("code", "printed", "none")
    if model.policy.kind == "confidence"
    for one in segmentation.segmentation_records(
        model,
        scenes,
        Origin(name if rule == model.policy.merging else f"{name}_{rule}", plan.data, "dovit_table3", card.seed),
        view=plan.view,
        policy=replace(model.policy, merging=rule),
    )
]
shown = segmentation_tables.segmenters_in(measured, ("dovit", "dovit_printed", "dovit_none"))
segmentation_tables.difference_table(measured, shown, data=plan.data, reference="dovit")

# %% [markdown]
# ## What differs from the paper, and why
#
# - **Scale and training**: as in {ref}`chapter-dovit-table1`.  *Dense* is trained on like the others, with distillation from the
#   model that all start from, so that its gap to DoViT is that of the tokens and not of the epochs.
# - **Merging** follows the official code: half of the class token and of the mean, and only where more than a tenth of the
#   patches has stopped.
# - **Distillation** has the direction that the paper prints, KL(student ‖ teacher), with β = 0.4.  The official code has
#   KL(teacher ‖ student) with weight 1, and a second term on the features that the paper does not mention.
# - **This run** is on composed scenes (`lab`) or ADE20K (`paper`), not on street scenes.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
