# %% [markdown]
# (chapter-dovit-cost)=
# # Which way of saving tokens is worth its cost?
#
# **Beyond the paper.**  {cite:t}`liu2023dynamic` compares DoViT with the dense model and, in a sentence, with DynamicViT.
# But a segmentation model can save tokens in other ways too: merge similar ones and give them back at the end (ToMe), or
# let a dense model stop the patches of which it happens to be sure, without having been trained for that.
#
# **Our question.**  Of all these, which has the highest mIoU at a given cost; and is the answer the same when the cost
# is what a clock says and not what the multiply-accumulates promise?  And does a CRATE backbone change it?

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 0
limit = None

# %%
import time

from wbcore import plots, profiles, records
from wbcore.figures import cost_plots
from wbcore.measuring import speed
from wbcore.tables import segmentation_curves as curves

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)

# %% [markdown]
# ## What we recorded
#
# Every model of one backbone went on for as many epochs from the same dense weights, and all of a panel were measured on the same
# images.  The street has three backbones, ImageNet's ViT-Ti/16 and the lab's ViT and CRATE at patches of 8; the scenes have the
# lab's two.  SETR is the decoder throughout, and the first training run of each model is shown.
#
# - **DoViT**, run with thresholds ξ from 0.95 to 0.99: patches stop when an early probe is surer than ξ;
# - **DyViT**, with ρ of 0.7, 0.8 and 0.9: after each decision a predictor lets the share ρ of the patches go on,
#   whatever the image;
# - **ToMe**: the dense model with 25, 50 or 75 % of its patches merged before the last layer, not trained for it;
# - **DoViT, not trained for it** (hollow): the dense model, whose probes were trained with it, with DoViT's decisions.
#
# Left, GMACs with attention's own products; right, milliseconds of one image by itself on a CPU.  Grey steps: the models
# of a panel that no other there beats.  What lies on them by less than its interval may lie there by chance.

# %% mystnb={"figure": {"name": "fig-dovit-cost-plane", "caption": "mIoU against cost. Numbers: ξ of DoViT, ρ of DyViT and the share that ToMe merges, at the ends of each line; vertical lines: 95 % intervals over images; grey steps: the models of a panel that no other there beats."}, "image": {"alt": "Six panels: for street scenes, with ImageNet's backbone and with the lab's, and for composed scenes, mIoU over GMACs and over milliseconds; a line for each way of saving tokens, a marker for each backbone, and the Pareto front as grey steps."}}
costs = (curves.GMACS, curves.MILLISECONDS)
recorded = curves.recorded("dovit_street", "dovit_scenes", decoder="setr")
recorded += curves.milliseconds(curves.timed(curves.recorded("dovit_speed", decoder="setr")))
panels = {
    "CamVid, ImageNet's ViT-Ti/16": ("camvid", ("vit_tiny",)),
    "CamVid, the lab's backbones": ("camvid", ("vit", "crate")),
    "Composed scenes, the lab's backbones": ("cutouts_stuff", ("vit", "crate")),
}
planes = {
    (title, cost): curves.plane(recorded, cost, data=data, backbones=backbones)
    for title, (data, backbones) in panels.items()
    for cost in costs
}
cost_plots.cost_plane({place: points for place, points in planes.items() if points})
plots.plt.show()

# %% table={"name": "tab-dovit-cost-street", "caption": "Street scenes: mIoU and cost, best first, with half the width of the 95 % interval (milliseconds: half the distance of the quartiles). ●: no model is better that costs no more."}
curves.plane_table(recorded, costs, data="camvid")

# %% table={"name": "tab-dovit-cost-scenes", "caption": "The same for composed scenes of many classes."}
curves.plane_table(recorded, costs, data="cutouts_stuff")

# %% [markdown]
# **What the records say.**  On street scenes, by multiply-accumulates, DoViT's line lies to the left of DyViT's and, below the cost at
# which half of the patches merge, of ToMe's; with more to spend, merging without any training is level with the dense
# model.  ImageNet's ViT has to be *trained* to let tokens stop: the same decisions on its dense weights, whose probes were trained too,
# ruin it, by 13 points here and by 7 and 24 in two other runs, perhaps because its last layers and its decoder never met a token that had
# stopped.
#
# **Not so the lab's backbones, whichever their design.**  By the same decisions the dense weights of CRATE lose 0.5 points and those of
# the lab's ViT 0.9, so it is not CRATE that makes the difference, as its row beside ImageNet's ViT alone had let us think.  The two have
# six layers, not twelve, patches of 8 pixels, not 16, and began without photographs; which of these it is we have not taken apart.
# Both segment the street far worse than ImageNet's ViT for more multiply-accumulates, so neither has a ● in the table.  Of the two CRATE
# is the cheaper and the ViT the better, by a point, and it is as good with a quarter less work, whether patches stop or merge.
#
# By these clock times, of one image at a time, nothing of the ViT-Ti's but DoViT, trained for it or not, is faster than its dense
# model; timed in turn with its own dense counterpart, DyViT with ρ = 0.7 is too, by 7 % ({ref}`chapter-dovit-fig3`).  On a CRATE,
# DyViT and merged tokens gain more time than DoViT; on the lab's ViT the three lie close together.  Neighbours on these lines were not compared image by image.
#
# On the composed scenes little stops, and the dense ViT stands that, too.  There the front, by multiply-accumulates, is ToMe's: with three
# quarters of the patches merged and no training, both backbones do about a third less work and lose nothing.
#
# %% [markdown]
# ## This run
#
# The models at hand, each with the policy that it was trained for, on a few images of the profile's data.

# %% tags=["nbval-ignore-output"] mystnb={"figure": {"name": "fig-dovit-cost-live", "caption": "This run: few images, wide intervals, and the clock of whatever machine built this page."}, "image": {"alt": "Two panels, mIoU over GMACs and over milliseconds, for the models that are at hand."}}
count, measured, timings = limit or (30 if profile == "lab" else None), [], []
for scenery, plan in chosen.segmentations.items():
    options = {"data_root": data_root, "device": device}
    found = chosen.segmenters(scenery, **options)
    for name, (model, _) in found.items():
        images = speed.timed_images(plan.open(data_root, limit or 8), limit or 8, shorter=plan.view.shorter)
        timings += speed.speed_records(model, images, {name: model.policy}, data=plan.data, command="dovit_cost_plane")
    measured += chosen.segment(scenery, command="dovit_cost_plane", limit=count, **options) if found else []
live = measured + curves.milliseconds(timings)
shown = {
    (plots.data_label(plan.data), cost): curves.plane(live, cost, data=plan.data)
    for plan in chosen.segmentations.values()
    for cost in costs
}
cost_plots.cost_plane({place: points for place, points in shown.items() if points})
plots.plt.show()

# %%
tolerances = {"segmentation/miou": 0.15, "segmentation/pa": 0.15, "cost/gmacs": 0.1}
records.require_near(measured if profile == "lab" and limit is None else (), recorded, tolerances)

# %% [markdown]
# ## What to keep in mind
#
# - **One training run** of each model: the intervals are over images and say nothing of another seed.
# - **Small models on small images.**  Attention's share of the cost, which the number of tokens squares, is small here;
#   at 1024 × 2048 pixels it is not ({ref}`chapter-dovit-fig3`).
# - **ToMe is not trained here**, and was made for classification; DyViT is our reading of a name that the paper does not
#   explain.
# - **CRATE's layers are cheaper** than those of a ViT of the same width and depth: where a panel has both backbones, its front
#   also compares backbones.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
