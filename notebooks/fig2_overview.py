# %% [markdown]
# (chapter-fig2)=
# # Inside one layer of CRATE: an image on its way through MSSA and ISTA
#
# **The claim** ({cite:t}`yu2023emergence`, Fig. 2 and section 2.1).  An image becomes patch tokens and a class token; every
# layer first *compresses* the tokens against $K$ subspaces (MSSA), then makes them *sparse* in a learned dictionary
# (ISTA).  The class token's attention in the last layer but one, put back on the patches' grid, is the heat map.
#
# **Our question.**  Fig. 2 is a sketch.  What does it look like when every picture in it is what the trained network
# computes, and every number is one image's own?

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 0
limit = None
layer = 4
photograph = "cat"

# %%
import time

from wbcore import evaluate, plots, profiles, showing
from wbcore.checkpoints import load_model
from wbcore.data.cutouts import photographs
from wbcore.figures.diagram import layer_diagram
from wbcore.measuring import objective
from wbcore.measuring.stages import by_use, layer_stages
from wbcore.subjects import model_subject

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
trained, card = load_model(chosen.weights_path("crate", data_root), device=device)
(example,) = (one for one in photographs() if one.name == photograph)
picture = evaluate.square(example.image, 288)
side = max(trained.config.size)

# %% [markdown]
# ## From image to heat map
#
# The left half of Fig. 2: the class token's attention over the patches in the last layer but one, mean of all heads, drawn
# from its least value (dark) to its greatest (bright).  At the size at which the model was trained, and at three times
# that, with its position embeddings resized.

# %% mystnb={"figure": {"name": "fig-fig2-heat", "caption": "A photograph and CRATE's mean attention map in the last layer but one, on the model's own token grid and on one three times as fine."}, "image": {"alt": "A cat's face beside two maps in blocks from dark violet to yellow: a coarse one of nine by nine blocks and a fine one, both bright on the face."}}
subject = model_subject(trained, name="crate", device=device)
maps = {}
for size in (side, 3 * side):
    (heads,) = evaluate.heads(subject, [example], size=size, layer=-2)
    heats = [one.heat for one in heads if one.heat is not None]
    maps[f"{size} × {size} px"] = [plots.Overlay(sum(heats[1:], heats[0]) / len(heats))]
plots.picture_grid([picture], maps, side=2.2, alone=True)
plots.plt.show()

# %% [markdown]
# ## One layer
#
# The right half of Fig. 2, from left to right.  $Z$ enters the layer, $Z'$ stands between its halves, $Z''$ leaves it.  In each
# strip a row is a token (the class token first) and a column a channel; **white is exactly zero**, red above, blue below.
# The channels stand in one order in all pictures: those used by most tokens of $Z''$ first.  The six maps are where the
# class token looks in each subspace.  Blue numbers are what each half has changed.  $Y = \mathrm{LN}(Z')$ is where ISTA starts,
# $Y_+ = \max(Y, 0)$ its nearest code without negative entries.

# %% tags=["nbval-ignore-output"] mystnb={"figure": {"name": "fig-fig2-layer", "caption": "The layer chosen by the parameter `layer`, drawn from the trained CRATE and one photograph, with that photograph's coding rate, share of non-zero entries and LASSO objective. Equations as in the paper; the LayerNorms are its Algorithm 1's."}, "image": {"alt": "A row of pictures joined by arrows: a cat's face under a token grid; a strip of red dashes on white; LayerNorm; MSSA with six small attention maps, and a skip arrow around both to a plus sign; a strip filled with red and blue; LayerNorm; ISTA with a square dictionary of fine red and blue noise; a strip of red dashes on white. Below are numbers for each stage, then equations 5 to 8."}}
shown = showing.resize(example.image, side)
stages = layer_stages(trained, shown)
layer_diagram(picture, by_use(stages[layer - 1]))
plots.plt.show()

# %% [markdown]
# ## Every layer
#
# The same numbers of the same image in all layers; $R^c$ in nats against each layer's own subspaces, non-zeros in percent of
# all entries.  Last, the same network as it was initialised.

# %% tags=["nbval-ignore-output"] table={"name": "tab-fig2-layers", "caption": "One photograph through all layers of CRATE, trained and as initialised."}
untrained = layer_stages(objective.as_initialised(trained, seed).to(device), shown)
columns = {}
for title, found in (("trained", stages), ("untrained", untrained)):
    columns[title, "R^c: Z → Z′"] = [f"{one.rate[0]:.1f} → {one.rate[1]:.1f}" for one in found]
    shares = [[f"{100 * share:.0f}" for share in one.nonzeros] for one in found]
    columns[title, "non-zeros: Z → Z′ → Z″"] = [" → ".join(row) for row in shares]
    columns[title, "LASSO: Y (Y₊) → Z″"] = [
        f"{one.lasso[0]:.0f} ({one.lasso_feasible:.0f}) → {one.lasso[1]:.0f}" for one in found
    ]
objective.layer_table(columns)

# %%
{
    "MSSA lowers R^c in layers": [one.layer for one in stages if one.rate[1] < one.rate[0]],
    "ISTA lowers the LASSO of Y in layers": [one.layer for one in stages if one.lasso[1] < one.lasso[0]],
    "ISTA lowers the LASSO of Y₊ in layers": [one.layer for one in stages if one.lasso[1] < one.lasso_feasible],
    "Z″ is sparser than Z in layers": [one.layer for one in stages if one.nonzeros[2] < one.nonzeros[0]],
}

# %% [markdown]
# **What to see**, of one photograph and one seed.  MSSA leaves not one entry at zero and ISTA sets 51 to 63 of every 100
# to zero again, so the tokens go from dense to sparse six times over; up to layer 4 every layer leaves fewer non-zeros
# than it was given, the last two leave more.  Across MSSA $R^c$ falls in every layer but the first, by 20 to 60 nats, where
# the untrained network falls by 6 at most.
#
# Two cautions.  Sparsity is not what training brought: from the second layer on the untrained network has *fewer*
# non-zeros.  And what ISTA does to its LASSO hangs on the start: from $Y_+$ it falls in every layer, from $Y$, where the network
# really starts, it rises in layers 2 and 3.
#
# ## What differs from the paper, and why
#
# - **Scale.**  Width 192, six layers, six subspaces of width 32, patches of 8 at 72 px; the paper: CRATE-S/8 and B/8, twelve
#   layers, 224 px.  One image, chosen before its numbers were known; the averages over images with their intervals are
#   in {ref}`chapter-eq2`.
# - **The equations and the network.**  As in the official code, LayerNorm stands before each half, the way back from the
#   subspaces is a free linear map instead of $U$ (which takes the place of the factor of Eq. 5), and the skip carries the tokens
#   as they are.  ISTA therefore starts at $Y$, not at $Z'$.
# - **The rate.**  The official code's: every projected token has length 1, $\varepsilon^2 = 0.01$, natural logarithm.
# - **The heat map** is the mean over the heads; the paper does not say which head Fig. 2 shows.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
