# %% [markdown]
# (chapter-dovit-fig2)=
# # Token-pass step by step: which patches stop, where they wait, how they come back
#
# **The claim** ({cite:t}`liu2023dynamic`, Figs. 1 and 2, sections 3.1 to 3.3).  Other ways of making a network faster take
# something from the network, for all images alike.  DoViT takes patches from the image: an early probe looks at every
# patch between two blocks of layers, and a patch of which it is sure goes straight to the decoder.  So the work fits the
# image.
#
# **Our question.**  What are the eight equations in code, and what does each of them do to one image of ours?

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 0
limit = None
scenery = "scenes"
threshold = None
image = 6

# %%
import time

from wbcore import plots, profiles
from wbcore.figures import segmentation_plots as pictures
from wbcore.figures.pipeline_diagram import pipeline_diagram
from wbcore.listing import listing
from wbcore.measuring import token_use
from wbcore.measuring.segmentation import segment
from wbcore.metrics.segmentation_cost import dense_ledger
from wbcore.models import token_pass
from wbcore.models.dovit import DoViT, Policy

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
models = chosen.segmenters(scenery, data_root=data_root, device=device)
model, card = models[token_use.of_variant(models, "dovit")]
plan, config = chosen.segmentations[scenery], model.config
policy = plan.pictured(model.policy, threshold)
dataset = plan.open(data_root, limit)

# %% [markdown]
# ## The idea
#
# How many of the layers each patch goes through: in a dense network all, whatever the patch shows; with token-pass as many
# as it takes until a probe is sure of it.  Below, what the whole image costs.
#
# All pictures of this chapter are drawn at a lower threshold $\xi$ than the one of training, because the small network
# of the lab is so rarely sure that hardly a patch would stop.  Both scenes were picked by eye.  What token-pass saves and costs
# at its own threshold is measured in {ref}`chapter-dovit-fig6`.

# %% tags=["nbval-ignore-output"] mystnb={"figure": {"name": "fig-dovit-idea", "caption": "Two scenes and the number of layers that each of their patches goes through; the cost is that of the whole network for this image."}, "image": {"alt": "Two composed scenes. Beside each a square that is dark throughout, for the dense network, and one in blocks of four shades, for token-pass: light where a patch stopped early, dark where it went through all layers."}}
examples = [dataset[number % len(dataset)] for number in (image, image + 1)]
scenes = list(segment(model, examples, view=plan.view, policy=policy))
whole = list(segment(model, examples, view=plan.view, policy=Policy()))
layers, costs = pictures.layer_columns({"dense": whole, "DoViT": scenes}, config)
shown = {"image": [one.picture for one in scenes], **layers}
pictures.scene_grid(shown, notes=costs, legend=pictures.layer_legend(config), side=1.9)
plots.plt.show()

# %% [markdown]
# ## The whole way of one image
#
# Fig. 2 of the paper, with nothing in it but what the trained network did to the first of the two scenes.  A block $B_\ell$ is
# what lies between two decisions; the coloured part of its box is the share of the tokens that it works on.

# %% tags=["nbval-ignore-output"] mystnb={"figure": {"name": "fig-dovit-pipeline", "caption": "One image on its way through the network: confidence of the three probes above, the patches that go on in the middle, the way of those that stopped below, and what each block worked on."}, "image": {"alt": "A row of pictures joined by arrows: a scene, a block of layers, the scene with some patches faded, a smaller block, and so on through four blocks to a decoder and a map of classes. Above each decision a map of confidence, along the bottom a line that leads what stopped to the decoder."}}
first = scenes[0]
dense = dense_ledger(config, first.grid)
pipeline_diagram(first, config, threshold=policy.threshold, dense=dense, classes=len(dataset.classes))
plots.plt.show()

# %% [markdown]
# ## The equations, and the lines that are they
#
# Shown is the library's own code, without its docstrings.
#
# **The network, Eq. (1)**, $y = D \odot F_L \odot \dots \odot F_1 \odot E(x)$: embedding, layers, decoder.

# %%
print(listing(DoViT.forward))

# %% [markdown]
# **Confidence, Eqs. (2) and (3)**: $p^\ell = \mathrm{softmax}(H_\ell(f^\ell))$ and
# $q^\ell_{i,j} = \max_c p^\ell_{c,i,j}$.  The probe $H_\ell$ is a LayerNorm and one linear map.
#
# **Decision, Eqs. (4) and (5)**: $\tilde M^\ell_n = 0$ where $q^\ell_n > \xi$, else 1; and
# $M^\ell = \tilde M^\ell \odot M^{\ell-1}$, so that what has stopped stays stopped.

# %%
print(listing(token_pass.confidence, token_pass.keep_mask))

# %% [markdown]
# **Gathering, Eq. (6)**, $\hat T^\ell = G(T^\ell, M^\ell)$, and **reconstruction** (section 3.3),
# $T^{\ell+1} = R(\hat T^{\ell+1}, I^{\ell+1})$.  Both are methods of one object, so the way back is always that of the way
# there; the images of a batch stand one after the other, each with as many tokens as it has left.

# %%
print(listing(token_pass.Split.gather, token_pass.Split.scatter))

# %% [markdown]
# **Separate attention, Eq. (7)**, $\mathrm{softmax}(\hat Q \hat K^\top / \sqrt d)\, \hat V$: the blocks are those of the dense
# network, called on the gathered tokens.  All of token-pass is this loop:

# %%
print(listing(DoViT._pass_tokens))

# %% [markdown]
# **Merging, Eq. (8)**, $T^\ell_0 \leftarrow \frac12 T^\ell_0 + \frac{1}{|S^\ell|} \sum_i \ddot T^\ell_i$: the class token takes up the
# mean of what has stopped.

# %%
print(listing(token_pass.merge))

# %% [markdown]
# ## What they do to one image
#
# A patch counts as sure, and stops, from the red mark of the scale on.  The scale is by doubt: 0.9, 0.99 and 0.999 are as far
# apart as each other.  *Gathered* and *restored* are the patches' pixels, moved by the very functions that move
# the tokens.

# %% tags=["nbval-ignore-output"] mystnb={"figure": {"name": "fig-dovit-walk", "caption": "The three decisions on one image. Pale: patches that have stopped. Gathered: the patches that go on, packed row by row. Restored: the same, back in their places."}, "image": {"alt": "Three rows, one for each decision, with four pictures: a map of confidence in blocks, the scene with stopped patches faded, the remaining patches packed closely, and the remaining patches in their places on white."}}
moved = [token_use.passed(first, decision) for decision in range(len(config.decisions))]
pictures.scene_grid(
    {
        "confidence $q$": first.sure,
        "kept $M$": [pictures.faded(first.picture, first.at_pixels(keep)) for keep in first.keep],
        "gathered $G(T, M)$": [one.gathered for one in moved],
        "restored $R$": [one.restored for one in moved],
    },
    rows=[f"decision {number + 1}" for number in range(len(moved))],
    notes={"gathered $G(T, M)$": [f"{one.kept} of {one.of}" for one in moved]},
    threshold=policy.threshold,
    side=1.7,
)
plots.plt.show()

# %% [markdown]
# And what comes out at the end: the decoder gets a token for every patch, some of them from an early layer.  *Dense* is the
# same network with the same weights and no decisions, so the last map is what token-pass itself has changed.

# %% tags=["nbval-ignore-output"] mystnb={"figure": {"name": "fig-dovit-result", "caption": "Both scenes segmented with and without token-pass, beside the truth. Last: in colour where the two predictions differ."}, "image": {"alt": "For two scenes: the image, the prediction of token-pass, that of the dense network, the true classes in flat colours, and the scene faded but for the places where the two predictions differ."}}
differ = [one.prediction != other.prediction for one, other in zip(scenes, whole, strict=True)]
pictures.scene_grid(
    {
        "image": [one.picture for one in scenes],
        **pictures.class_columns({"DoViT": scenes, "dense": whole}, classes=len(dataset.classes)),
        "changed": [pictures.faded(one.picture, where) for one, where in zip(scenes, differ, strict=True)],
    },
    notes={"changed": [f"{100 * where.mean():.1f} % of the pixels" for where in differ]},
    legend=pictures.class_legend(dataset.classes, scenes + whole),
    side=1.7,
)
plots.plt.show()

# %% [markdown]
# ## It is the same network
#
# At $\xi = 1$ nothing can stop, and the numbers are those of the dense network, to the last bit.

# %%
(same,) = segment(model, examples[:1], view=plan.view, policy=Policy("confidence", threshold=1.0))
{
    "every patch goes on": all(bool(keep.all()) for keep in same.keep),
    "prediction of the dense network": bool((same.prediction == whole[0].prediction).all()),
    "tokens in every layer": "as many as the dense network's" if same.tokens == whole[0].tokens else "fewer",
}

# %% [markdown]
# ## What differs from the paper, and why
#
# - **The probe** is LayerNorm and one linear map, as section 4.1.2 describes it; the official SETR configurations give it a
#   hidden layer of 256 channels.
# - **Decisions** come after a quarter, a half and three quarters of the layers.  The paper says after layers 3, 6 and 9
#   of 12, its code decides one layer earlier.
# - **Eq. (4) read with Eq. (3)**: a patch stops where $q$ is *greater* than $\xi$, so that at $\xi = 1$ none can.
# - **Eq. (8)** as printed sums over the channels too, which would make a number of a token; and it halves the class
#   token alone.  Default is the official code's rule, half of class token and mean together, and only where more than a
#   tenth of the patches has stopped.
# - **Batches.**  The paper gives all images of a batch the same number of tokens; here every image keeps its own, and its
#   result does not depend on its batch.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{"model": card.name, **provenance(device), "seconds": round(time.monotonic() - started, 1)}
