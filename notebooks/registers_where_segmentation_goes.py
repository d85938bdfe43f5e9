# %% [markdown]
# (chapter-registers-where)=
# # Where does a ViT's segmentation go?
#
# **Beyond the papers.**  CRATE's paper says that the attention of a supervised ViT shows no segmentation
# ({cite:t}`yu2023emergence`); the Registers paper says that outlier tokens spoil attention maps
# ({cite:t}`darcet2024registers`).  Neither asks whether the one is the other.  Both can be measured in one picture: how well the
# class token's attention segments, layer by layer, beside how many tokens are outliers and how much of the attention
# falls on them.
#
# **Our question.**  Is the failure of a supervised ViT to show segmentation an artefact of outliers?  Three interventions: leave
# the outliers out of the maps, move them into a test-time register ({cite:t}`jiang2025testtime`), or train with registers.  Does the
# segmentation come back?
#
# ```{admonition} Which kind of outlier is shown
# :class: important
# The outliers of the pretrained ViT-Ti/16 are **driven by position**: they are the four corners of every image, horse or not
# ({ref}`chapter-registers-fig3`).  Those of the paper are **driven by content**.  The lab's own models have none.
# ```

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 0
limit = None

# %%
import time
from statistics import fmean

from wbcore import evaluate, plots, profiles, records, tables
from wbcore.figures import outlier_plots
from wbcore.measuring.outlier_segmentation import Recorder, read_attention
from wbcore.subjects import model_subject
from wbcore.tables import outlier_tables

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
recorded = records.load_records(records.RESULTS / "registers_segmentation")

# %% [markdown]
# ## What we expected
#
# A first look had shown the pretrained ViT segmenting horses in its sixth and seventh layer and losing it from the ninth on, the
# first that attends to tokens which the eighth has made long.  Before any intervention was measured, we wrote down with their tests
# ({numref}`tab-registers-where-claims`):
#
# 1. **Where it is lost.**  Most of it between the seventh layer and the last, much of that in the ninth.
# 2. **Mask and move.**  If the loss is an artefact of the outliers, the last layer comes within ten points of the seventh when they
#    are left out of its map, or moved into a register.
# 3. **Rule.**  By a share of entries, where four patches take no more than their places, the outliers cost less than five points.
# 4. **Elsewhere.**  If the loss is *no* artefact, later layers attend elsewhere: of the attention on normal patches at least ten
#    points less is on the object than in the seventh layer.
# 5. **Train.**  The lab's models have no outliers, so registers change less than three points there.

# %% [markdown]
# ## What we recorded
#
# Weizmann's 328 horses, each model at its native size (ViT-Ti/16: 224 px, 14 × 14 patches; the lab's models: 72 px,
# 9 × 9).  From above:
#
# - *mIoU*: the class token's attention in that layer, best head (CRATE, Eqs. 13 and 14), cut to 60 % of its mass, and below to a fifth of
#   its entries, about the share of an image that a horse covers.  The rule matters ({ref}`chapter-table2`): by mass, a head
#   that puts half of its attention on four patches leaves a mask of few others.
# - *Above three medians*: the share of patches whose norm *after* the layer is more than three times the image's median.  What a
#   layer writes, the next one attends to.
# - *On outliers*: the part of the class token's attention that falls on the patches that are outliers after the last layer
#   (threshold from 100 photographs of COCO).  Of the lab's models, which have none, it is the longest 2 % of the patches.

# %% mystnb={"figure": {"name": "fig-registers-where", "caption": "Segmentation by two rules, outliers, and attention on outliers, layer by layer; bands are 95 % intervals over 328 horses. Recorded."}, "image": {"alt": "Three columns, one for each model, over the layers. In the pretrained ViT the mIoU by mass rises to the seventh layer and falls from the ninth on, where attention first sees outliers; without them it falls less. By a fifth of the entries it stays high up to the eleventh layer and is highest there without the outliers. The share of patches above three medians jumps from zero to two percent in the eighth layer, and attention on them grows to almost a half. The lab's ViT is low by mass and above the blob by entries, with and without registers, and has no outliers. CRATE is high by both rules, but for its last layer by mass."}}
columns = [(model, "weizmann") for model in ("vit_tiny_pretrained", "vit", "crate")]
segmented = [
    outlier_plots.Row("attention_miou/mass60", "mIoU (%),\n60 % of mass", blob=True),
    outlier_plots.Row("attention_miou/entries20", "mIoU (%),\n20 % of entries", blob=True),
]
lengths = [
    outlier_plots.Row("tail/triple_share", "above three\nmedians (%)", symlog=0.1),
    outlier_plots.Row("attention_to/outliers", "attention\non outliers (%)"),
]
shown = ("", "_clean", "_ttr", "_reg4")
outlier_plots.layer_columns(recorded, columns, segmented + lengths, endings=shown)
plots.plt.show()

# %% [markdown]
# ## How much comes back
#
# The loss is what lies between a model's best layer and its last.  Which layer is best was decided on **other images**
# (COCO's training photographs, or training scenes); its number stands in brackets.  *Brought back* is the gain in the last
# layer as a share of that loss, with its interval over the images; below 0 the intervention makes it worse.  Where the loss is not
# measurably above zero, *no loss*.  The controls leave out as many other patches of each image as it has outliers.

# %% table={"name": "tab-registers-where-recovery", "caption": "What the interventions bring back in the last layer. mIoU in percent with half of its 95 % interval; over the blob in points."}
endings = ("_clean", "_clean_edge", "_clean_rand", "_ttr", "_ttr_clean", "_empty")
subjects = [("vit_tiny_pretrained", ending) for ending in endings]
subjects += [(model, "_reg4") for model in ("vit", "crate")]
rules, data = ("mass60", "entries20"), ("weizmann", "coco200", "cutouts")
outlier_tables.recovery_table(recorded, subjects, rules=rules, data=data)

# %% [markdown]
# ## The verdicts

# %% table={"name": "tab-registers-where-claims", "caption": "What the records say of the statements that were written down before."}
tables.claims_table(recorded, "registers_where_segmentation_goes")

# %% [markdown]
# Both explanations fail: neither do the outliers account for the loss, nor does the class token turn away from the object.
#
# ## Where the attention goes
#
# The class token's attention, all of it, mean over heads.  The dashed line is where the object's band would end if normal patches
# were looked at alike.  *Outliers* of the lab's models are the longest 2 % of their patches.

# %% mystnb={"figure": {"name": "fig-registers-where-spent", "caption": "What the class token's attention is spent on, by layer. Recorded, 328 horses."}, "image": {"alt": "Stacked shares over the layers for each model. In the pretrained ViT outliers take a growing part from the ninth layer on, up to almost a half; with the test-time register about half of that part is the register's. The object's part stays above the dashed line in the later layers of all models."}}
spenders = ("vit_tiny_pretrained", "vit_tiny_pretrained_ttr", "vit", "vit_reg4", "crate")
outlier_plots.spending(recorded, [(model, "weizmann") for model in spenders], size=1.5, height=2.7)
plots.plt.show()

# %% [markdown]
# ## If neither, what?
#
# This was measured *after* the verdicts, because of them.  If the attention is still on the horse, is it in the right *place*, and
# how *wide* is it?  Above, the area under the ROC curve: how often a patch of the horse draws more attention than one of the
# background, which knows neither rule nor size (mean of the heads).  Below, how many patches 60 % of a head's mass lie on (mean over
# heads): a horse covers about a quarter of them, and no mask much smaller than that can fit it.

# %% mystnb={"figure": {"name": "fig-registers-where-width", "caption": "Place and width of the attention, by layer. Recorded, 328 horses."}, "image": {"alt": "Two rows over the layers for each model. Above, the area under the ROC curve: in the pretrained ViT it is highest in the ninth layer and falls in the last. Below, the size of the mask: from about a quarter of the patches in the seventh layer to less than a tenth from the ninth on. The lab's ViT has masks below a tenth in every layer, CRATE of about a fifth and below a tenth in its last."}}
widths = [
    outlier_plots.Row("attention_auc", "object before\nbackground (%)", blob=True),
    outlier_plots.Row("mask_size/mass60", "patches in the\nmask (%)"),
]
outlier_plots.layer_columns(recorded, columns, widths, endings=shown, size=2.0)
plots.plt.show()

# %% table={"name": "tab-registers-where-loss", "caption": "What the pretrained ViT loses from its best layer to its last, by how its maps are read."}
outlier_tables.loss_table(recorded, "vit_tiny_pretrained", endings=("", "_clean"), rules=rules, data=data)

# %% [markdown]
# ## This run
#
# The networks whose weights are here, by layer, on the first scenes.

# %% tags=["nbval-ignore-output"] table={"name": "tab-registers-where-live", "caption": "This run: attention mIoU by layer on the first scenes only, so the intervals are wide."}
models = chosen.register_models(data_root=data_root, device=device)
scenes = chosen.attention.open(data_root, limit or 24)
recorder = Recorder(scenes, data=chosen.attention.data, command="registers_where_segmentation_goes", device=device)
live = []
for name, model in models.items():
    live += recorder.segmentation(read_attention(model, scenes), name, origin={})
names = {"60 % of mass": "attention_miou/mass60", "20 % of entries": "attention_miou/entries20"}
tables.curve_table(tables.step_panels(live, "layer", metrics=names, data=[chosen.attention.data]), step="layer")

# %%
for record in live:
    for same in records.select(recorded, model=record.model, data=record.data, metric=record.metric):
        if profile == "lab" and same.values:
            assert abs(record.value - fmean(same.values[: record.n])) < 0.02, (record.model, record.metric)

# %% [markdown]
# ## The pictures
#
# One scene, the seventh, which has one large object.  Every map is that of the head that fits best, from its least value (dark) to its
# greatest (bright); the IoU is that of its mask by 60 % of the mass.  The scenes are 72 px, as in training, and shown
# at twice that.

# %% mystnb={"figure": {"name": "fig-registers-where-maps", "caption": "Attention of the class token in every second layer, the head that fits best."}, "image": {"alt": "One scene, a row for each network: maps of the class token's attention in the second, fourth and sixth layer. ViT's are a few bright patches, CRATE's a wider patch of light on the object that shrinks in the last layer."}}
depth = next(iter(models.values())).config.depth
looked_at = {name: model for name, model in models.items() if model.config.depth == depth}
scene, side = scenes[min(6, len(scenes) - 1)], chosen.figure_size
overlays = {}
for layer in range(depth - 5, depth, 2):
    overlays[f"layer {layer + 1}"] = [
        evaluate.look(
            model_subject(model, name=name, layers=(layer,), device=device),
            [scene],
            size=side,
            layer=layer,
            masks=False,
        )[0]
        for name, model in looked_at.items()
    ]
images = [evaluate.square(scene.image, side) for _ in looked_at]
names = [plots.label(name).replace(", ", ",\n") for name in looked_at]
plots.picture_grid(images, overlays, alone=True, rows=names, side=1.6)
plots.plt.show()

# %% [markdown]
# **What the records say.**
#
# - **Outliers are a part of the loss, not all of it.**  Left out of the last layer's map, they bring back a little more than a third
#   of it on horses and about two thirds of a smaller loss on COCO's photographs.  As many other patches bring back nothing.  By
#   mass the map stays below the blob on horses even then, and on COCO it is level with it.
# - **The register brings back less than the mask**, and by entries on horses makes the last layer slightly worse.  What it takes from
#   the corners stays with the register or goes to other patches, hardly any of it to the object; and the corners keep
#   drawing attention after their norms are normal, a third of what it was.  An empty register does nothing.
# - **The class token does not look elsewhere.**  Of its attention on normal patches about half is on the horse in the last layer, as in
#   the seventh, and twice what an even look would give; in the ninth it is three quarters.
# - **It looks narrowly.**  From the ninth layer on, 60 % of a head's mass lie on less than a tenth of the patches, and without the
#   outliers on little more.  The ninth layer, where the mIoU by mass has fallen by half, ranks the horse's patches best of all.  Read by
#   a fifth of the entries and without outliers, the ninth to eleventh segment better than any before; what is left of
#   the loss, about a third of what it was by mass, belongs to the last layer, where the ranking falls too.
# - **No outlier is needed for this.**  The lab's ViT has none, and its maps are narrower still from the second layer on: far below the
#   blob by mass, above it by entries.  Four registers that were trained along change little, CRATE's too; of
#   ViT the verdict on three points is open.
#   CRATE's fall in its last layer is a narrowing as well: by entries, and in the ranking, it does not fall.
# - **So the answer is: partly, and it depends on the size of the object.**  On horses, which are large, the loss by mass shrinks by about
#   a third without the outliers and by nearly as much again when the map is read by entries; the rest, about a third, is the last layer's
#   own.  On COCO, whose objects are small, a narrow map costs little: without the outliers more than half of the loss is gone, and
#   what remains is the same by both rules.
# - **And a supervised ViT does show segmentation**, up to its last layer but one, to who reads it by entries.  What CRATE's attention has and
#   a ViT's late layers have not is, above all, width: by mass CRATE leads the lab's ViT on horses by tens of points, by entries by a
#   few.
#
# ## What this does not say
#
# - The outliers here are **driven by position**, four corners of every image.  Outliers in the background, as in the paper, would
#   take attention from other places and could be worth more, or less.
# - One pretrained network, and of the lab's the first of three training runs of each.  A fifth of the entries is close to what horses
#   cover, which flatters every map on them, the blob's too; the ROC curve is free of that.
# - The best head is chosen with the annotation, as in CRATE's Eq. 13.  By the ROC curve, which takes the mean of the heads, the lab's ViT is
#   hardly better than the blob in its middle layers and worse in its last, as the pretrained one is in its last.
#
# The whole list of deviations is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
