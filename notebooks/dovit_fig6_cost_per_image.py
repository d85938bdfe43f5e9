# %% [markdown]
# (chapter-dovit-fig6)=
# # Easy images cost less: how much, and what makes one easy?
#
# **The claim** ({cite:t}`liu2023dynamic`, Fig. 6 and section 4.4).  Token-pass forces no fixed share of tokens on an image, so what
# an image costs may differ widely.  The paper shows two: of the one more than half of the tokens stop at the second
# block; of the other more than 80 % stop there, and a tenth is left in the last.
#
# **Our question.**  How far do the easiest and the hardest image of a whole set lie apart, and does the cost go with what
# an image shows?

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 0
limit = None
scenery = "scenes"
threshold = None

# %%
import time
from dataclasses import replace

from wbcore import plots, profiles, records
from wbcore.figures import token_charts
from wbcore.measuring import token_use
from wbcore.measuring.segmentation import segment
from wbcore.metrics.segmentation_cost import dense_ledger
from wbcore.tables import segmentation_curves as curves
from wbcore.tables import token_records

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
models = chosen.segmenters(scenery, data_root=data_root, device=device)
name = token_use.of_variant(models, "dovit")
(model, card), plan = models[name], chosen.segmentations[scenery]
policy = model.policy if threshold is None else replace(model.policy, threshold=threshold)
dataset, config = plan.open(data_root, limit), model.config

# %% [markdown]
# ## An easy image and a hard one
#
# The cheapest and the dearest of the scenes of this run, by measured multiply-accumulates.  Each block is what lies
# between two decisions, so the first works on all patches.  In outline, what the dense network does.

# %% tags=["nbval-ignore-output"] mystnb={"figure": {"name": "fig-dovit-cases", "caption": "The cheapest and the dearest scene of this run, block by block; the class token is counted with the patches."}, "image": {"alt": "Two rows, an easy and a hard scene. In each the scene, a map of how many layers each patch went through, and two groups of four bars, tokens and GMACs of each block, which fall from the first block to the last, far more steeply for the easy scene."}}
found = list(segment(model, (dataset[number] for number in range(len(dataset))), view=plan.view, policy=policy))
ranked = sorted(found, key=lambda one: one.cost.whole.total)
token_charts.cost_bars({"cheapest": ranked[0], "dearest": ranked[-1]}, config)
plots.plt.show()

# %% [markdown]
# ## What we recorded
#
# Of every image of the set what it cost: 233 street photographs of CamVid, 300 composed scenes.

# %% mystnb={"figure": {"name": "fig-dovit-spread", "caption": "GMACs of single images, attention included. Dashed: the dense model, for which all images cost the same."}, "image": {"alt": "A histogram of the cost of images for each model and data set, on street scenes all to the left of a dashed line that marks the dense model, on composed scenes most of them on it."}}
recorded = curves.recorded("dovit_street", "dovit_scenes")
wanted = (("camvid", "setr_vit_tiny_dovit"), ("cutouts_stuff", "setr_vit_dovit"), ("cutouts_stuff", "setr_crate_dovit"))
uses = token_records.token_uses(recorded, wanted)
token_charts.cost_histograms({use.title: (use.gmacs, use.dense) for use in uses})
plots.plt.show()

# %% table={"name": "tab-dovit-spread", "caption": "GMACs of single images: from the cheapest over the quartiles to the dearest."}
token_records.spread_table(uses)

# %% table={"name": "tab-dovit-cases", "caption": "The cheapest and the dearest image of each set: the share of the patches that each block works on."}
token_records.cases_table(uses)

# %% [markdown]
# ## What makes an image dear
#
# Spearman's rank correlation, over images, between the cost of an image and what its annotation says: how many classes
# cover at least a hundredth of it, and how much of it each class covers (classes that at least a tenth of the images have).
# \* marks an interval that does not span zero.  With a dozen rows, one such mark in twenty is chance.

# %% table={"name": "tab-dovit-relations", "caption": "Rank correlation of an image's GMACs with what it shows, with 95 % intervals over images."}
token_records.relation_table({use.title: use.relations() for use in uses})

# %% [markdown]
# - **On the streets every image is cheaper than dense, and how much cheaper differs**, but less than the paper's two cases
#   suggest: most images lie close together, and not even the cheapest leaves as few patches as the paper's second case.
# - **An image with more classes costs more**, on the streets.  So do those with much tree, many cars or pedestrians; much road
#   or much building makes an image cheap.  The shares of an image add up to one, so these are not separate causes.
# - **Sky does not measurably make a street cheap**, although its patches stop early.
# - **On the composed scenes most images cost nearly what the dense network costs**, and in CRATE some a little more: where nothing
#   stops, the probes come on top.  How many classes a scene has says nothing of its cost; much of leaves makes it cheap in both
#   networks, much of trees or wood dear.

# %% [markdown]
# ## This run

# %% tags=["nbval-ignore-output"] mystnb={"figure": {"name": "fig-dovit-spread-live", "caption": "GMACs of the scenes of this run."}, "image": {"alt": "A histogram of the cost of the scenes of this run, most of it at a dashed line for the dense model."}}
gmacs = token_use.costs(found)
dense = dense_ledger(config, found[0].grid).whole.total / 1e9
token_charts.cost_histograms({f"{plots.label(name)}, {len(found)} images": (gmacs, dense)})
plots.plt.show()

# %% tags=["nbval-ignore-output"] table={"name": "tab-dovit-relations-live", "caption": "This run: the same rank correlations."}
pixels = token_use.class_pixels(found, classes=len(dataset.classes))
token_records.relation_table({"this run": token_use.cost_relations(gmacs, pixels, dataset.classes)})

# %%
for same in records.select(recorded, model=name, data=plan.data, metric="cost/gmacs"):
    if profile == "lab" and policy == model.policy and same.values:
        off = abs(gmacs.mean() - sum(same.values[: len(found)]) / len(found))
        assert off < 0.02 * dense, f"mean cost is {off} GMACs off the recorded one"

# %% [markdown]
# ## What differs from the paper, and why
#
# - **Which images.**  The paper does not say how its two were chosen; here they are the extremes of the set.
# - **What is counted.**  GMACs of one image with the attention's products of matrices, which the paper's tool leaves out; the
#   probes are counted too.
# - **The first block** works on all patches whatever the image, so with decisions after a quarter of the layers no image can cost
#   less than about a quarter of the dense network.  In our six layers it is a third.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{"model": card.name, **provenance(device), "seconds": round(time.monotonic() - started, 1)}
