# %% [markdown]
# (chapter-table1)=
# # MaskCut: how well can objects be cut out of the features?
#
# **The claim** ({cite:t}`yu2023emergence`, Table 1 and Fig. 5).  MaskCut ({cite:t}`wang2023cut`) cuts up to three objects out of
# an image, from the features of its patches alone.  On a supervised CRATE's features it finds the main objects; on a
# supervised ViT's it "completely fails to produce segmentation masks in certain cases".
#
# **Our question.**  Does CRATE lead when both are small and saw the same images, on which data, by which of the six
# numbers, with and without MaskCut's last step, the CRF, and how much of an AP that has no scores to rank by is owed to
# the order in which equal scores are read?

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 1
limit = None
figure_size = 216

# %%
import time
from dataclasses import replace

from wbcore import claims, evaluate, plots, profiles, records, tables
from wbcore.data.cutouts import CutoutScenes, photographs
from wbcore.recording.maskcut_recording import BASELINES, TRAINED, UNTRAINED
from wbcore.tables import maskcut_tables

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
present = chosen.trained(("crate", "vit"), data_root=data_root)
subjects = chosen.subjects(present, data_root=data_root, device=device)

# %% [markdown]
# ## What the paper printed
#
# *det*: the masks' bounding boxes against those of the annotation; *seg*: the masks themselves.  Class-agnostic, in percent.

# %% table={"name": "tab-table1-paper", "caption": "The paper's Table 1, in percent."}
tables.paper_table(
    "crate_table1", ("crate_small", "crate_base", "vit_small", "vit_base", "vit_small_dino", "vit_base_dino")
)

# %% [markdown]
# The same CRATE-S/8 has lower numbers in the paper's Table 2 ({numref}`tab-table2`).  Appendix B.4 says that the CRF was dropped "in
# Table 1 when comparing different variants", but variants are compared in Table 2: most likely Table 1 is with the CRF and
# Table 2 without.
#
# ## What we recorded
#
# Measured once, at the models' own 72 px, which is 9 × 9 tokens (ViT-Ti/16: 224 px, 14 × 14): in percent ± half of the
# 95 % interval over images.  The last four columns have learned nothing.  Weizmann's horses are annotated as a class and
# not as objects, so there is no AP on them.

# %% table={"name": "tab-table1", "caption": "AP of MaskCut without CRF, in percent with 95 % intervals over images."}
recorded = records.load_records(records.RESULTS / "table2")
metrics = [f"maskcut_{kind}/{name}" for kind in ("bbox", "segm") for name in ("ap50", "ap75", "ap")]
data = ("coco200", "cutouts")
rows = (*TRAINED, "vit_tiny_pretrained", *UNTRAINED, *BASELINES)
columns = [(name, metric) for name in data for metric in metrics]
tables.record_table("recorded (lab)", recorded, rows, columns)["recorded (lab)"].T

# %% [markdown]
# ## Does CRATE lead?
#
# The difference CRATE − ViT with its 95 % interval: a bootstrap over images that draws the same ones for both.

# %% table={"name": "tab-table1-order", "caption": "CRATE against ViT by each of the six numbers, on each data set."}
tables.order_table(recorded, ("crate", "vit"), columns)

# %% [markdown]
# That is one training run of each.  The same over three, with an interval over other runs:

# %% table={"name": "tab-table1-runs", "caption": "CRATE against ViT over three training runs: the mean difference of runs with one seed, and its 95 % interval over other runs."}
tables.order_table(records.runs_of(recorded, ("crate", "vit")), ("crate", "vit"), columns, over="runs")

# %% [markdown]
# On COCO-200 all numbers are small.  Is anything in them that training put there?

# %% table={"name": "tab-table1-untrained", "caption": "Trained against untrained networks on COCO-200."}
chain = ("crate", "untrained_crate", "vit", "untrained_vit")
tables.order_table(recorded, chain, [("coco200", "maskcut_bbox/ap50"), ("coco200", "maskcut_segm/ap50")])

# %% [markdown]
# ## With the CRF
#
# MaskCut's last step redraws each mask along the edges of the photograph, fills its holes, and drops it if it became
# another mask (IoU below 0.5).  The widths of its filters are given in pixels, and officially the image is the 480 px
# square that the network sees too.  Ours see 72 px (ViT-Ti/16: 224), so there are two ways to follow: on the image that
# the model sees, where the widths are as many tokens as officially, and, on the photographs, on the 480 px square, where
# they are the same part of the image.  Recorded once, for the CRF needs an extra that compiles
# (`pip install -e '.[crf]'`); this run is without.

# %% table={"name": "tab-table1-crf", "caption": "AP of MaskCut with CRF on the image that the model sees, in percent with 95 % intervals over images."}
crf = records.load_records(records.RESULTS / "table1_crf")
both = recorded + crf
tables.record_table("with CRF", crf, [f"{row}_crf" for row in rows], columns)["with CRF"].T

# %% table={"name": "tab-table1-crf-480", "caption": "The same on the 480 px square, shrunk to 72 px for the model alone."}
large = ("crate", "vit", "centred_blob")
tables.record_table("with CRF", crf, [f"{row}_crf480" for row in large], columns[:6])["with CRF"].T

# %% table={"name": "tab-table1-crf-effect", "caption": "What the CRF changes, on the same images: with − without in points, with 95 % intervals; * where the interval does not span zero."}
aps = [(name, metric) for name in data for metric in ("maskcut_bbox/ap", "maskcut_segm/ap")]
maskcut_tables.effect_table(both, rows, "_crf", aps)

# %% table={"name": "tab-table1-crf-480-effect", "caption": "The same on the 480 px square."}
maskcut_tables.effect_table(both, large, "_crf480", aps[:2])

# %% [markdown]
# A CRF that drops wrong masks raises an AP without redrawing any, for without scores each wrong mask weighs as much as a
# right one.

# %% table={"name": "tab-table1-crf-masks", "caption": "Masks for an image, in the mean."}
maskcut_tables.mask_counts_table(both, rows, ("", "_crf", "_crf480"), data=data)

# %% [markdown]
# Does it change the order?

# %% table={"name": "tab-table1-crf-order", "caption": "The trained models from best to worst, in percent; > where the interval of two neighbours' difference is above zero, else ≈. At 480 px only CRATE and ViT were measured, on the photographs."}
maskcut_tables.order_by_setting_table(both, TRAINED, ("", "_crf", "_crf480"), aps, digits=2).T

# %% table={"name": "tab-table1-crf-pair", "caption": "CRATE against ViT with the CRF, by each of the six numbers."}
tables.order_table(both, ("crate_crf", "vit_crf"), columns)

# %% table={"name": "tab-table1-crf-claims", "caption": "What was written down of the CRF before it was measured."}
tables.claims_table(both, "table1_maskcut_ap")

# %% [markdown]
# - **With the CRF every network's AP is higher.**  On Cutouts it more than triples det AP and more than quadruples seg AP of
#   all four trained models, and it drops half of their masks or more.  But the blob, which has seen nothing, gains by a
#   larger factor still: with the CRF it is ahead there of every trained model *without* it.  The CRF itself looks at the image,
#   so how much of an AP with CRF is the model's, only the baselines beside it tell.  Of random heads nearly none is left.
# - **On Cutouts the order stays**: CRATE, then CRATE-MHSA, then ViT, each lead clear of zero; ViT and CRATE-MLP cannot be
#   told apart, which without CRF they could by seg AP.
# - **On COCO-200 no order is to be had**, with CRF as without: CRATE-MLP is first now, but no two neighbours differ
#   measurably.  Whether CRATE is ahead of ViT is undecided on the 72 px image; on the 480 px square it is, by seg AP, by
#   little.
# - CRATE's det AP on photographs rises by a few tenths of a point, as the paper's Table 1 lies above its Table 2.  That fits
#   the reading that Table 1 is with the CRF; it does not prove it.
#
# ## How AP moves with the order of equal scores
#
# AP ranks all masks of all images by their scores, and MaskCut has none.  With equal scores the evaluator ranks them as
# it meets them, image after image, so the precision at low recall is that of the first few images.  Below: the order of
# the recorded numbers, the least and the greatest of 100 random orders of the images, and the masks ranked by round, all
# first ones before all second ones; last, in how many of the 100 orders, the same for both, CRATE's AP is greater.

# %% table={"name": "tab-table1-ties", "caption": "The same masks, ranked in other orders: AP in percent."}
without_75 = [column for column in columns if not column[1].endswith("ap75")]
tables.order_range_table(recorded, ("crate", "vit"), without_75)

# %% table={"name": "tab-table1-crf-ties", "caption": "The same of the masks after the CRF."}
tables.order_range_table(crf, ("crate_crf", "vit_crf"), without_75)

# %% [markdown]
# On COCO-200 the order alone moves an AP by a factor of two (det AP50) to thirty (seg AP of ViT), and the ranges of the
# two models overlap: an AP of equal scores means little without its order.  Read in one and the same order, CRATE is
# ahead in most orders, but not in all; with the CRF by seg AP50 in a minority.  On Cutouts the ranges do not overlap
# and CRATE leads in every order.  Ranking by round raises every AP of Cutouts by more than a quarter, because first
# masks are better than second and third ones; of the few masks that the CRF leaves, by little.
#
# The claims of the page {doc}`/book/claims` that this chapter bears on:

# %%
{one.id: claims.decide(one, recorded).verdict for one in claims.load_claims() if "maskcut-beats-vit" in one.id}

# %% [markdown]
# ## This run
#
# The same measurement, now, on the data of the profile: held-out scenes (`lab`), or COCO val2017 at 480 px (`paper`).

# %% tags=["nbval-ignore-output"] table={"name": "tab-table1-live", "caption": "AP of MaskCut in this run, in percent."}
measured = chosen.measure(
    subjects, data_root=data_root, limit=limit, device=device, kinds=("maskcut",), command="table1_maskcut_ap"
)
tables.record_table("this run", measured, present, chosen.columns([], metrics))["this run"]

# %% [markdown]
# The recorded masks of the same scenes must meet the same objects.  Not always all of them: the shipped weights are
# rounded to 8 bits, and a cut can tip over.

# %%
for record in records.select(measured, metric="maskcut_segm/ap"):
    (stored,) = records.select(recorded, model=record.model, data="cutouts", metric=record.metric, seeds=(0,))
    if profile == "lab" and stored.matches and record.matches:
        same = sum(one == other for one, other in zip(record.matches, stored.matches, strict=False))
        assert same >= 0.9 * record.n, (record.model, same, record.n)

# %% [markdown]
# ## Fig. 5: the masks
#
# First (yellow), second (blue) and third mask (pink), on the grid of tokens; at the size of the records, and at three
# times that.  Held-out scenes, and whole photographs of animals.

# %% mystnb={"figure": {"name": "fig-table1-masks", "caption": "MaskCut on the features of the last layer, at 9 × 9 and at 27 × 27 tokens."}, "image": {"alt": "Seven rows, three composed scenes and four photographs: the image, then with the outlines of up to three masks for CRATE and for ViT, each at 72 and at 216 pixels."}}
animals = ("cat", "two_dogs", "chameleon", "ladybird")
scenes = CutoutScenes("segmentation", size=288, count=3, seed=seed)
examples = [scenes[index] for index in range(3)] + [one for one in photographs() if one.name in animals]
masks = {
    f"{plots.label(subject.name)}, {size} px": [
        replace(one, heat=None, caption="") for one in evaluate.look(subject, examples, size=size)
    ]
    for subject in subjects
    for size in (chosen.attention.size, figure_size)
}
plots.picture_grid([evaluate.square(example.image, 288) for example in examples], masks)
plots.plt.show()

# %% [markdown]
# **Verdict**, at this scale.  On composed scenes the claim holds with CRF and without, by all six
# numbers and in every order, for one run: without it most of CRATE's APs are about twice those of ViT, and both are above all that
# has learned nothing.  Over three runs (without CRF) CRATE leads by each of the six too; decided are half of them.
# On 200 photographs of COCO detection is undecided over the images of the first run, with CRF and without; over three runs its AP
# is decided, by two tenths of a point, and because a claim asks for both it stays undecided.  CRATE's training shows
# there, ViT's does not: its numbers cannot be told from those of untrained networks.  Segmentation holds by very
# little, and with the CRF at 72 px no more: of the hundreds of masks a few dozen are an object even at the lowest IoU,
# and the order of the images alone moves the AP further than the two models are apart.  In the pictures ViT fails more
# often (the third scene; the chameleon at 216 px), as in Fig. 5, but it finds the cat as well as CRATE, and tells the
# two dogs apart better.
#
# ## What differs from the paper, and why
#
# - **Scale.**  Width 192, depth 6, patches of 8 at 72 px, trained on composed scenes; the paper: width 384 and 768, depth
#   12, ImageNet-21k, and MaskCut at 480 px.  Masks of 9 × 9 tokens cannot follow a contour, which weighs on AP75.
# - **CRF.**  The official widths in pixels, on images of another size, as said above; the result is brought to the size
#   of the photograph by the nearest pixel, as masks without CRF are, not by bicubic interpolation.
# - **Feature.**  The subspace projections of CRATE and the keys of ViT, in the last layer.
# - **200 photographs of COCO**, not 5,000: the intervals are wide.
# - **Equal scores** are ranked by image id, as CutLER's authors do; the spread is above.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
