# %% [markdown]
# (chapter-registers-fig5)=
# # Where do outliers lie, and are their patches redundant?
#
# **The claim** ({cite:t}`darcet2024registers`, section 2.2, Fig. 5a and Fig. 10).  Outliers appear where a patch tells little that its
# neighbours do not: right after the patch embedding, such patches are more similar to the four patches around them.  The
# network, so the paper reads it, drops what is redundant and keeps notes of the whole image there.
#
# **Our question.**  Is the same true of the outliers of a pretrained ViT-Ti/16, and if so, is it *why* they are there?
# Its outliers are **driven by position**, not by content as the paper's, so every number needs its control: patches at
# the same places that are no outliers.

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 0
limit = None

# %%
import time

from wbcore import plots, profiles, records, tables
from wbcore.figures import norm_plots
from wbcore.measuring import norm_records
from wbcore.metrics.intervals import paired_difference
from wbcore.metrics.norms import image_means

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)

# %% [markdown]
# ## Where they are
#
# For every position of a patch, the share of 100 photographs (COCO-200) in which it is an outlier after the last layer.
# On a single blank grey image the pretrained ViT has its outliers too, at the positions printed below the maps.

# %% mystnb={"figure": {"name": "fig-registers-fig5-positions", "caption": "How often each patch is an outlier. Recorded, COCO-200."}, "image": {"alt": "Four maps. That of the pretrained ViT is bright in the four corners and black elsewhere; the others are black."}}
recorded = records.load_records(records.RESULTS / "registers_norms")
norm_plots.position_maps(recorded, data="coco200")
plots.plt.show()
for one in records.select(recorded, metric="norms/position_share", data="coco200"):
    rows = one.settings["blank_map"]
    places = [(row + 1, column + 1) for row, line in enumerate(rows) for column, share in enumerate(line) if share]
    print(f"{plots.label(one.model)}, blank image: outliers at (row, column) {places or 'none'}")

# %% [markdown]
# ## What their patches look like
#
# Mean cosine of a patch's embedding (before position embedding and layers) to those of the patches above, below, left and
# right of it; on the border three of them, in a corner two.  *Normal* are all patches that are no outliers, *border* those
# of them on the image's border, *corners* the four corners, whatever their norm.  The patch embedding differs between
# models, so compare within one.

# %% mystnb={"figure": {"name": "fig-registers-fig5-cosine", "caption": "Cosine to the neighbours after the patch embedding, mean over images with 95 % interval. Filled: outliers. Recorded, COCO-200."}, "image": {"alt": "Dots with intervals in rows. In every model normal patches have the lowest cosine, the border a higher one, the corners the highest; the outliers of the pretrained ViT are level with its corners."}}
norm_plots.token_intervals(recorded, norm_plots.SUBJECTS, data="coco200", metric="norms/neighbour_cosine").axes[
    0
].set_xlabel("mean cosine to the neighbours")
plots.plt.show()

# %% [markdown]
# ## The verdicts
#
# The two about neighbours were written down before any cosine had been measured; that the outliers lie in the corners was known.

# %% table={"name": "tab-registers-fig5-claims", "caption": "What the records say of the paper's statements."}
tables.claims_table(recorded, "registers_fig5_neighbours")

# %% [markdown]
# ## This run: corners without outliers
#
# The lab's models have no outliers anywhere.  Are the patches in the corners more similar to their neighbours there, too?
# The first composed scenes, corners minus all others, image by image.

# %% tags=["nbval-ignore-output"]
scenes = chosen.attention.open(data_root, limit or 48)
for name, model in chosen.register_models(data_root=data_root, device=device).items():
    found = norm_records.read_norms(model, scenes)
    corner = (norm_records.border(found.grid) == 2).expand_as(found.neighbours)
    means = [image_means(found.neighbours, where).double().numpy() for where in (corner, ~corner)]
    value, low, high, count = paired_difference(*means)
    print(f"{plots.label(name)}: {value:+.3f} [{low:+.3f}, {high:+.3f}], {count} scenes")

# %% [markdown]
# **What the records say.**
#
# - **The statement holds, its explanation does not.**  Outliers are more similar to their neighbours than normal patches,
#   and than those of the border.  But so are the *corners of every model*, with outliers or without, and the corners of the
#   very same network after a test-time register has taken the outliers away: photographs are more uniform towards their
#   corners, and a corner's two neighbours are not four.  What makes these patches outliers is where they are.
# - **They are the corners.**  Nearly every outlier lies in a corner, in nearly every photograph, and on a blank image the same
#   four are there.  The paper's statement that outliers are not at fixed places fails for this network.
# - Content has a small part in it: in a few photographs a corner is no outlier, so that the outliers' cosine is a little
#   above that of all corners.
#
# Anyone who looks for redundant patches with this measure should show the same positions without outliers beside it.
#
# ## What differs from the paper, and why
#
# - **One number a patch**, the mean over its neighbours; the paper shows a density and does not say whether it pools them.
# - **The network** is a ViT-Ti/16 trained with labels, the paper's is DINOv2 ViT-g/14, and with it the kind of the outliers.
# - **The controls** (border, corners, other models) are ours; the paper compares with all normal patches.
# - **Fig. 10** of the paper shows vertical stripes, which it traces to how position embeddings are resized; at
#   its native size nothing is resized here.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
