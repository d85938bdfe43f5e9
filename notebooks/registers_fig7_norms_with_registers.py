# %% [markdown]
# (chapter-registers-fig7)=
# # What becomes of the long tokens?
#
# **The claim** ({cite:t}`darcet2024registers`, Figs. 7, 9 and 15).  Trained with registers, a network has no patches with
# outlying norms any more: the registers have them instead.  They are not alike: their norms differ, and so do the parts of
# an image that they look at.
#
# **Our question.**  How long are the class token, registers and patches of each network, where do registers look, and does
# that hold of CRATE, which the paper does not have?
#
# Two kinds of register are shown.  The pretrained ViT-Ti/16 has outliers that are **driven by position**, the four corners of
# any image, unlike the paper's ({ref}`chapter-registers-fig3`); its register is a *test-time register*
# ({cite:t}`jiang2025testtime`), moved there without training.  The lab's ViT and CRATE have no outliers; their four
# registers were trained along, as in the paper.

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 0
limit = None

# %%
import time

from wbcore import evaluate, plots, profiles, records, tables
from wbcore.data.cutouts import photographs
from wbcore.figures import prefix_plots
from wbcore.measuring import prefix_records

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
models = chosen.register_models(data_root=data_root, device=device)

# %% [markdown]
# ## What we recorded: norms
#
# L2 norms after the last layer, before the final LayerNorm, of 100 photographs (COCO-200, its validation split): one entry
# an image for the class token and for each register, all patches below each other.  A norm has no unit that two networks
# share: compare tokens within a panel.  Networks with registers were trained by the same recipe as those
# without; shown is the first of three runs.

# %% mystnb={"figure": {"name": "fig-registers-fig7-norms", "caption": "Norms of patches, class token and registers after the last layer; each histogram has its own height. Arrow: the few patches that lie apart. Recorded, COCO-200."}, "image": {"alt": "One panel for each network on a common logarithmic axis. The pretrained ViT has a few patches far to the right of all others, and an arrow on them says two percent; with a test-time register the register is there instead. Below, the lab's ViT and CRATE without and with registers."}}
recorded = records.load_records(records.RESULTS / "registers_prefix")
prefix_plots.norm_ridges(recorded, data="coco200")
plots.plt.show()

# %% [markdown]
# ## And where they look
#
# What each token pays to the patches in the last layer, mean over heads, taken as shares of 100 %: the part of it that falls
# on objects (beside the part of the *patches* that do, which is what a token has that looks everywhere alike), and the cosine of its map with
# the class token's.

# %% table={"name": "tab-registers-fig7", "caption": "Class token, registers and patches, with half the width of the 95 % intervals over images; attention in percent."}
prefix_plots.prefix_table(recorded)

# %% [markdown]
# ## The verdicts
#
# The tests were written while the networks with registers were training.

# %% table={"name": "tab-registers-fig7-claims", "caption": "What the records say of the paper's statements."}
tables.claims_table(recorded, "registers_fig7_norms_with_registers")

# %% [markdown]
# ## This run: where each register looks
#
# Whole photographs, shown at twice the side that the networks were trained at.  Every map has its own scale, from its least
# value (dark) to its greatest (bright); mean over heads, last layer.

# %% mystnb={"figure": {"name": "fig-registers-fig7-maps", "caption": "Attention of the class token and of each register over the patches, last layer, for each network with registers."}, "image": {"alt": "Photographs of animals; beside each, for every network with registers, a map of the class token's attention and one for each register."}}
shown = [example for example in photographs() if example.name in ("chameleon", "honey_bee", "two_dogs")]
images = [evaluate.square(example.image, chosen.figure_size) for example in shown]
columns = {
    f"{plots.label(name).split(',')[0]}\n{title}": maps
    for name, model in models.items()
    if model.config.num_registers
    for title, maps in prefix_plots.prefix_overlays(
        prefix_records.read_prefix(model, shown, size=chosen.figure_size)
    ).items()
}
plots.picture_grid(images, columns, alone=True, side=1.2)
plots.plt.show()

# %% tags=["nbval-ignore-output"]
scenes = chosen.attention.open(data_root, limit or 24)
for name, model in models.items():
    found = prefix_records.read_prefix(model, scenes)
    lengths = zip(found.names, found.norms.mean(dim=0).tolist(), strict=True)
    print(
        plots.label(name),
        f"patches {found.patch_norms.mean():.1f}",
        *(f"{token} {norm:.1f}" for token, norm in lengths),
        sep=", ",
    )
    for same in records.select(recorded, model=f"{name}_cls", metric="prefix/norm", data=chosen.attention.data):
        assert abs(found.norms[:, 0].mean() / same.value - 1) < 0.1, name

# %% [markdown]
# **What the records say.**
#
# - **Moved, not gone.**  The test-time register of the pretrained ViT is as long as its outliers were, and its patches are all
#   in one mode: that half of the paper's picture is here.  The register looks at almost what the class token looks at.
# - **Trained registers take nothing here, because there is nothing to take.**  In the lab's ViT they are *shorter* than its
#   patches; in CRATE they are as long as its patches, and longer than its class token.  The paper's statement that registers are the
#   long tokens fails for networks without outliers.
# - **They do look elsewhere.**  The class token of both networks pays most of its attention to objects, registers pay less.
#   CRATE's look *at the background*: at the objects of composed scenes hardly at all, less than a token that looks everywhere
#   alike, and on photographs, too, their maps have next to no patch in common with the class token's.  Nobody told them to.
#   So they have a role, though not the paper's.
# - **CRATE's four registers are one, four times over.**  Their norms and maps are equal: all of them start within a
#   millionth of zero, as in the official code, and nothing in training tells them apart afterwards.  Those of ViT part in
#   training, but their maps remain very alike.  The paper's registers differ in norm and in what they look at; how long a training it takes until
#   they do, or whether another start would do, was not tried.
#
# ## What differs from the paper, and why
#
# - **The networks**: one small pretrained ViT without trained registers, and the lab's six layers at 72 px, trained on composed
#   scenes; the paper trains DINOv2, OpenCLIP and DeiT-III.  In `paper` the released DINOv2 networks with registers are read
#   instead, which are not those of the paper's figures.
# - **Numbers for pictures.**  The paper shows registers' attention on one photograph; here it has numbers over images as well.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
