# %% [markdown]
# (chapter-fig4)=
# # How well does attention segment? It depends on what is counted
#
# **The claim** ({cite:t}`yu2023emergence`, Fig. 4).  Cut the class token's attention to a mask, compare it with the annotation,
# and a supervised CRATE is far ahead of a supervised ViT of its width on PASCAL VOC, and not far
# behind a ViT trained by DINO.
#
# **Our question.**  From a map to one number there are several steps that can be taken in more ways than one: which layer,
# what share of *what* becomes the mask, on which grid it meets the annotation.  Which of these choices decide who leads?

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
from statistics import fmean

from wbcore import evaluate, plots, profiles, records, tables
from wbcore.data.cutouts import CutoutScenes, photographs

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
present = chosen.trained(("crate", "vit"), data_root=data_root)
subjects = chosen.subjects(present, data_root=data_root, device=device)

# %% [markdown]
# ## What the paper printed

# %% table={"name": "tab-fig4-paper", "caption": "The paper's Fig. 4b: mIoU in percent."}
tables.paper_table(
    "crate_fig4b", ("crate_small", "crate_base", "vit_small", "vit_base", "vit_small_dino", "vit_base_dino")
)

# %% [markdown]
# ## The masks
#
# In colour, and outlined, what is kept of the attention in the last layer but one, for both models: the tokens with most of it, until
# they hold 60 % of its mass; and the fifth of the tokens with most of it, however much they hold.  Held-out scenes show
# the head whose mask fits all objects together best, with its number and IoU: an oracle's choice, as in the paper.
# Photographs have no annotation and show the mean of the heads.  At 72 px, the models' own size, a mask has 9 × 9
# tokens; at 216 px 27 × 27.  No picture was chosen by its masks.

# %% mystnb={"figure": {"name": "fig-fig4-masks", "caption": "Attention cut to masks, last layer but one: by 60 % of its mass at both sizes, and by the top 20 % of the tokens."}, "image": {"alt": "Seven rows, three composed scenes and four photographs: the image, then in colour within the mask and pale grey outside it, for the masks of CRATE and of ViT, by mass at 72 and at 216 pixels and by entries at 216 pixels."}}
animals = ("cat", "two_dogs", "chameleon", "ladybird")
scenes = CutoutScenes("segmentation", size=288, count=3, seed=seed)
examples = [scenes[index] for index in range(3)] + [one for one in photographs() if one.name in animals]
masks = {}
for size, rule in ((chosen.attention.size, "mass60"), (figure_size, "mass60"), (figure_size, "entries20")):
    for subject in subjects:
        found = evaluate.look(subject, examples, size=size, layer=-2, masks=False, rule=rule)
        kind = "60 % of mass" if rule == "mass60" else "20 % of tokens"
        masks[f"{plots.label(subject.name)}, {size} px\n{kind}"] = evaluate.cut(found, rule=rule)
plots.picture_grid([evaluate.square(example.image, 288) for example in examples], masks, side=1.55, fade=True)
plots.plt.show()

# %% [markdown]
# ## What we recorded, under each reading of the protocol
#
# | reading | mask | compared |
# |---|---|---|
# | 60 % of the mass, tokens | the tokens with most attention, until they hold 60 % of it (DINO's code) | annotation brought to the token grid (the paper's appendix B.3) |
# | 60 % of the mass, pixels | the same | mask brought to the photograph (DINO's protocol) |
# | 60 % of the entries, tokens | the 60 % of the tokens with most attention (the paper's appendix B.3 to the letter) | on the token grid |
# | 20 % of the entries, tokens | the 20 % of the tokens with most attention: about the share of a photograph that an object covers | on the token grid |
#
# Always the best head for each class present, the mean over the classes of an image, then over images; no background.
# DINO's protocol counts every value of the label map it is given; ours was given the map of classes, so what separates
# the first two readings is the grid, and with it the classes too small to win a token: those count only at pixels, and so
# do the images that have no others.

# %% mystnb={"figure": {"name": "fig-fig4-forest", "caption": "COCO-200 under the four readings, with 95 % intervals over the photographs that count, in two layers. Hollow: nothing was learned."}, "image": {"alt": "Forest plot of four panels, one for each reading: CRATE, ViT, the ViT-Ti of ImageNet and baselines with their value in the last layer but one as a disc and in the last layer as a diamond."}}
recorded = records.load_records(records.RESULTS / "table2")
readings = {
    "60 % of mass, tokens": "attention_miou/mass60",
    "60 % of mass, pixels": "attention_jaccard/mass60",
    "60 % of entries, tokens": "attention_miou/entries60",
    "20 % of entries, tokens": "attention_miou/entries20",
}
layers = {"layer-2": "last layer but one", "layer-1": "last layer"}
shown = ("crate", "vit", "vit_tiny_pretrained", "centred_blob", "random_heads", "untrained_crate", "untrained_vit")
panels = {
    title: [
        replace(records.over_seeds(found), metric=layer)
        for layer in layers
        for model in shown
        if (found := records.select(recorded, data="coco200", metric=f"{metric}/{layer}", model=model))
    ]
    for title, metric in readings.items()
}
plots.forest(panels, layers, unit="IoU of the best head (%)")
plots.plt.show()

# %% [markdown]
# ## Who leads?
#
# From best to worst; `>` where the 95 % interval of the difference between neighbours is above zero, `≈` where it spans it.
# The blob sits in the centre of every image; random heads are noise.  ViT-Ti/16 is a released
# model; it has no record on Cutouts.

# %% table={"name": "tab-fig4-order", "caption": "The order of the models under each reading and in each layer, with their percent."}
names = ("coco200", "weizmann", "cutouts")
columns = [(name, f"{metric}/{layer}") for metric in readings.values() for layer in layers for name in names]
tables.rank_table(recorded, shown[:5], columns)

# %% [markdown]
# CRATE against ViT image by image, in the last layer but one:

# %% table={"name": "tab-fig4-lead", "caption": "CRATE against ViT under each reading."}
tables.order_table(recorded, ("crate", "vit"), [column for column in columns if column[1].endswith("layer-2")])

# %% [markdown]
# The paper's statement about DINO, which has no test here:

# %% table={"name": "tab-fig4-claims", "caption": "What the records say of the claim of Fig. 4 that belongs to this chapter; the others are on the page of claims."}
tables.claims_table(recorded, "fig4_coarse_segmentation")

# %% [markdown]
# ## This run
#
# The same measurement, now, on the data of the profile: scenes of held-out objects over held-out backgrounds (`lab`), or
# PASCAL VOC (`paper`).

# %% tags=["nbval-ignore-output"] table={"name": "tab-fig4-live", "caption": "The four readings in this run, in percent."}
measured = chosen.measure(
    subjects,
    data_root=data_root,
    limit=limit,
    device=device,
    kinds=("attention",),
    command="fig4_coarse_segmentation",
)
live = chosen.columns([f"{metric}/layer-2" for metric in readings.values()], [])
tables.record_table("this run", measured, present, live)["this run"]

# %% [markdown]
# The recorded values of the same scenes must agree within a point; not exactly, because the shipped weights are rounded to 8
# bits.

# %%
for record in measured if profile == "lab" else ():
    (stored,) = records.select(recorded, model=record.model, data="cutouts", metric=record.metric, seeds=(0,))
    if record.values and stored.values:
        assert abs(fmean(stored.values[: record.n]) - record.value) < 0.01, (record.model, record.metric)

# %% [markdown]
# ## What the records say
#
# - **What becomes the mask decides who leads.**  By 60 % of the mass CRATE is far ahead of ViT in the last layer but
#   one.  By 60 % of the entries, as the appendix has it, next to nothing of the lead is left, and on COCO-200 it is undecided, as it is
#   there by 20 % of them.  Under a rule that asks only for the order of the tokens, more than a few points remain nowhere
#   but on the horses (20 %, last layer).
# - **The layer decides whether CRATE beats a blob.**  By mass, in the last layer but one, it does on all data.  In its last
#   layer it is below the blob on the horses, and not above it on COCO-200.  ViT is below the blob by mass everywhere, and
#   on COCO-200 below random heads.
# - **Tokens or pixels decides the height, not that CRATE leads ViT.**  At pixels, where more images count on COCO-200 and
#   Cutouts, CRATE's number in the last layer but one is lower by about a third on COCO-200 and by about a sixth elsewhere; its
#   lead over ViT shrinks about as much or less, and holds on all data.  The blob loses less, so on photographs CRATE's lead over
#   the *blob* is halved.
# - **60 % of the entries tells models apart badly.**  Such a mask covers 60 % of the image whatever the map; a blob, CRATE
#   and ViT lie close to each other on each data set.
#
# The paper's gap between widths of 384 is far wider than any that 60 % of the entries leave here.  So masks of
# the *mass*, as DINO's code makes them, are the likelier reading of Fig. 4b; at another scale and on other data that is a
# hint and no proof.
#
# The pictures agree: ViT's 60 % of the mass are a few tokens, most of them *on* the object; with a fifth of the tokens for
# each, the two models' masks of the second and third scene look alike.  On the photographs, without an oracle, neither
# separates the ladybird or the dogs from what is around them.
#
# Best heads are chosen class by class with the annotation in hand, for all models alike.  What one *fixed* head scores,
# compared at pixels, is in {ref}`chapter-sensitivity`: at this layer and share CRATE is then no better than the blob on COCO-200.
#
# ## What differs from the paper, and why
#
# - **Data.**  200 photographs of COCO, Weizmann's horses and composed scenes in place of VOC 2012 val, which the profile `paper` reads.
# - **Scale.**  Width 192, depth 6, patches of 8 at 72 px, trained on composed scenes; the paper: widths 384 and 768, depth 12,
#   224 px, ImageNet-21k.  No row of Fig. 4b has a counterpart of its own size; ViT-Ti/16 is a released model at 224 px.
# - **DINO.**  Its weights are not here, so the last two rows of Fig. 4b have no counterpart.
# - **Layer.**  Fig. 4 names none; both are above.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
