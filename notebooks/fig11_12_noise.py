# %% [markdown]
# (chapter-noise)=
# # How much noise does the attention stand?
#
# **The claim** ({cite:t}`yu2023emergence`, Figs. 11 and 12).  Gaussian noise falls on part of an image's pixels.  Heads of
# CRATE that follow edges stay as they are whatever the noise; heads that follow texture lose it as $\sigma$ grows; and when more
# pixels are noisy, CRATE "shifts its focus".  The evidence is one photograph of a house.
#
# **Our question.**  How much of its segmentation does CRATE keep, at each level, over hundreds of images; and does a ViT
# that was trained on the same images keep more of its own, or less?

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 1
limit = None

# %%
import time
from dataclasses import replace
from statistics import fmean

from wbcore import evaluate, plots, profiles, records, subjects, tables
from wbcore.data.cutouts import CutoutScenes
from wbcore.recording import sources

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
models = chosen.subjects(("crate", "vit"), data_root=data_root, device=device)

# %% [markdown]
# ## The noise
#
# $\sigma$ is in grey levels of 255.  It falls on a random share of the pixels, on all three colours of a pixel independently,
# and the result is clipped to 0 … 255; so at $\sigma = 75$ many noisy pixels are black or white in a colour.  As in the paper, one of
# the two is varied at a time: $\sigma$ on half of the pixels (Fig. 11), and the share at $\sigma = 75$ (Fig. 12).  Neither model has
# seen noise in training.
#
# ## One picture, all heads
#
# A held-out object on a held-out background, drawn as the models see it: the noise is already in the pixels.  Bright: where
# a head of CRATE's last layer but one looks.  The number is the IoU of the head's mask (60 % of its mass) with the objects.

# %%
size = chosen.figure_size
scene = CutoutScenes("segmentation", size=size, count=20, seed=seed)[1]
by_sigma, by_share = {"clean": scene}, {"clean": scene}
for sigma in sources.NOISE_SIGMAS:
    by_sigma[f"σ = {sigma}"] = evaluate.noisy_example(scene, sigma=sigma, share=0.5, seed=seed)
for share in sources.NOISE_SHARES:
    by_share[f"{share} %"] = evaluate.noisy_example(scene, sigma=75, share=share / 100, seed=seed)

# %% mystnb={"figure": {"name": "fig-noise-sigma-heads", "caption": "CRATE: noise of growing σ on half of the pixels. Heads across, noise levels down."}, "image": {"alt": "Five rows, from the clean picture to noise of σ = 75 on half of its pixels; in each the picture and the attention of CRATE's six heads as a glow over it, with the IoU of each."}}
heads = plots.by_head(evaluate.heads(models[0], list(by_sigma.values()), size=size, layer=-2))
plots.picture_grid([one.image for one in by_sigma.values()], heads, side=1.0, rows=list(by_sigma))
plots.plt.show()

# %% mystnb={"figure": {"name": "fig-noise-share-heads", "caption": "CRATE: noise of σ = 75 on a growing share of the pixels."}, "image": {"alt": "Five rows, from the clean picture to noise on three quarters of its pixels; in each the picture and the attention of CRATE's six heads as a glow over it, with the IoU of each."}}
heads = plots.by_head(evaluate.heads(models[0], list(by_share.values()), size=size, layer=-2))
plots.picture_grid([one.image for one in by_share.values()], heads, side=1.0, rows=list(by_share))
plots.plt.show()

# %% mystnb={"figure": {"name": "fig-noise-vit-heads", "caption": "ViT, same layer: noise of growing σ on half of the pixels."}, "image": {"alt": "Three of the pictures of the first figure, clean, σ = 25 and σ = 75, with the attention of ViT's six heads and the IoU of each."}}
few = list(by_sigma.values())[::2]
heads = plots.by_head(evaluate.heads(models[-1], few, size=size, layer=-2))
plots.picture_grid([one.image for one in few], heads, side=1.0, rows=list(by_sigma)[::2])
plots.plt.show()

# %% [markdown]
# ## What we recorded
#
# Attention mIoU (best head for each class, last layer but one) on 400 scenes and on the Weizmann horses, at the models' own
# 72 px.  Two rules make the mask, because the first lets ViT segment worse than a blob in the centre even on clean
# images ({ref}`chapter-table2`), and what is on the floor has nothing to lose: 60 % of the attention's mass, and the 20 % of the tokens
# with most of it, which asks for their order only.  Grey: the blob, which does not look.

# %%
recorded = records.load_records(records.RESULTS / "fig11_12_noise")
data = [one for one in ("cutouts", "weizmann") if records.select(recorded, data=one)]
recorded += records.select(records.load_records(records.RESULTS / "table2"), model="centred_blob")
rules = {"attention_miou/mass60/layer-2": "60 % of the mass", "attention_miou/entries20/layer-2": "20 % of the entries"}
axes = {
    "σ (grey levels), half of the pixels": ("_sigma{}_share50", sources.NOISE_SIGMAS),
    "noisy pixels (%), σ = 75": ("_sigma75_share{}", sources.NOISE_SHARES),
}
panels = {
    axis: {
        f"{plots.data_label(name)}: {text}": records.by_noise(
            recorded, ("crate", "vit"), *levels, data=name, metric=metric, blind=("centred_blob",)
        )
        for metric, text in rules.items()
        for name in data
    }
    for axis, levels in axes.items()
}
over_sigma, over_share = panels

# %% mystnb={"figure": {"name": "fig-noise-sigma", "caption": "Attention mIoU against σ, with 95 % intervals over images; zero is the clean image."}, "image": {"alt": "Panels for two rules by two data sets: the mIoU of CRATE and of ViT as curves over σ from 0 to 75, and the centred blob as a level grey line."}}
plots.curves(panels[over_sigma], units=["mIoU (%)"] * 4, axes=[over_sigma] * 4, columns=len(data))
plots.plt.show()

# %% mystnb={"figure": {"name": "fig-noise-share", "caption": "Attention mIoU against the share of noisy pixels at σ = 75."}, "image": {"alt": "The same panels over the share of noisy pixels from 0 to 75 percent."}}
plots.curves(panels[over_share], units=["mIoU (%)"] * 4, axes=[over_share] * 4, columns=len(data))
plots.plt.show()

# %% [markdown]
# And each model against its own clean value, by the rule that leaves both of them something to lose: mean mIoU with noise
# over mean mIoU without, on the same images.

# %% mystnb={"figure": {"name": "fig-noise-kept", "caption": "What each model keeps of its own clean mIoU (20 % of the entries), with 95 % intervals over images."}, "image": {"alt": "Panels for σ and for the share of noisy pixels by two data sets: the curves of CRATE and ViT begin at 100 percent and fall."}}
kept = {
    f"{plots.data_label(name)}: {axis.split(' (')[0]}": records.by_noise(
        recorded, ("crate", "vit"), *levels, data=name, metric="attention_miou/entries20/layer-2", own=True
    )
    for axis, levels in axes.items()
    for name in data
}
plots.curves(kept, units=["kept of its own (%)"] * 4, axes=[one for one in axes for _ in data], columns=len(data))
plots.plt.show()

# %% [markdown]
# ## The claims
#
# Both are about CRATE alone and were written down before the measurement; *within* means that the whole 95 % interval of
# the difference, image by image, lies inside the margin.

# %% table={"name": "tab-noise-claims", "caption": "What the records say of the claims of Figs. 11 and 12."}
tables.claims_table(recorded, "fig11_12_noise")

# %% [markdown]
# ## This run
#
# A few levels now, on the first 48 scenes of the profile.  The noise is drawn as it was for the records, so on these
# images the two must agree within 2 points; what remains is the rounding of the weights that are shipped.

# %% tags=["nbval-ignore-output"] table={"name": "tab-noise-live", "caption": "A few noise levels, measured in this run."}
subjects_now = models + [
    replace(subjects.noisy(one, sigma=sigma, share=share / 100), name=f"{one.name}_sigma{sigma}_share{share}")
    for one in models
    for sigma, share in ((10, 50), (75, 10), (75, 50))
]
options = {"data_root": data_root, "limit": limit or 48, "device": device, "kinds": ("attention",)}
measured = chosen.measure(subjects_now, command="fig11_12_noise", **options)
tables.record_table("this run", measured, [one.name for one in subjects_now], chosen.columns(list(rules)[:1], []))

# %%
for record in measured if profile == "lab" and limit is None else ():
    for same in records.select(recorded, model=record.model, data="cutouts", metric=record.metric):
        assert abs(record.value - fmean((same.values or ())[: record.n])) < 0.02, (record.model, record.metric)

# %% [markdown]
# ## What the records say
#
# - **CRATE's attention stands noise well, more than the claims ask.**  Both claims hold, and the fall stays small far beyond them: with
#   $\sigma = 75$ on half of the pixels the masks by mass lose about a tenth of their mIoU.  At every
#   level measured they stay above the blob in the centre.
# - **It is no property of CRATE.**  By the order of the tokens, where ViT too has something to lose, each keeps about the same share
#   of its own clean value: the two curves stay close at every level, CRATE's a little above on the horses, ViT's mostly on the scenes,
#   and their intervals overlap.  By mass CRATE keeps clearly more on the horses, but there ViT begins
#   below the blob.
# - **Nothing breaks at a certain level.**  The curves fall without a step, on scenes like those of the training as on
#   photographs.
# - **Shifted focus.**  In the picture the two heads that cover the object, 1 and 5, stay on it through all levels, while head
#   3 drifts off it; whether this is what the paper calls "edges" and "textures" is not measured here.
#
# One training run of each model, one draw of the noise.
#
# ## What differs from the paper, and why
#
# - **A number beside the picture.**  The paper shows one photograph and no curve.  Half of the pixels and $\sigma = 75$, the values
#   that are held fixed, are the paper's.
# - **Scale.**  Width 192, depth 6, patches of 8 at 72 px, trained on composed scenes; the paper: width 384, depth 12, 224 px,
#   ImageNet-21k.  The pictures are drawn at twice the models' own size, so that a head has 18 × 18 tokens to show; a token averages 64
#   pixels at any size, so the noise in a token is the same.
# - **Clipping and rounding.**  The paper says that colours lie between 0 and 255, not how a noisy pixel is brought back there; ours is
#   clipped and rounded.
# - **The same pixels in all three colours** are noisy, with independent noise.  The paper does not say.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
