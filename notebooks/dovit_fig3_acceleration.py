# %% [markdown]
# (chapter-dovit-fig3)=
# # Does saving multiply-accumulates save time?
#
# **The claim** ({cite:t}`liu2023dynamic`, Fig. 3 and section 4.2).  Tokens that stop are left out of the computation,
# not masked in it.  So DoViT should really be faster, on hardware and with libraries as they are: throughput and FPS of
# large and base backbones more than double on Cityscapes.  Of small backbones the paper says that FPS may even fall,
# because the early probes cost time too.
#
# **Our question.**  How much of what is saved in multiply-accumulates (MACs) does the clock show?  That is a question
# of its own: gathering tokens, putting them back and asking the probes all take time that no count of MACs contains.

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 0
limit = None

# %%
import time

from wbcore import plots, profiles, tables
from wbcore.figures import cost_plots
from wbcore.measuring import speed
from wbcore.tables import segmentation_curves as curves
from wbcore.tables import segmentation_tables

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)

# %% [markdown]
# ## What the paper says
#
# Its bars are not in its text; these are the statements beside them, for one V100.

# %% table={"name": "tab-dovit-fig3-paper", "caption": "DoViT on its acceleration. The cells of the figure are unknown."}
segmentation_tables.statement_table("section 4.2, acceleration")

# %% [markdown]
# ## What we recorded
#
# Each model and its own dense counterpart (the same weights with every token in every layer) took turns on the same
# eight images, so that the ratio stands even where a machine has other work to do; the absolute numbers are those of
# that machine.  *Throughput* is with eight images at once, *FPS* one by one.  Timed is the whole forward pass, probes and
# decoder included, from the normalised image to the logits of every pixel.  CamVid and the composed scenes were timed at
# the size of training and at twice that size, at which attention's share is greater.

# %% mystnb={"figure": {"name": "fig-dovit-fig3-speed", "caption": "Images per second, with the quartiles of the timings. Upright lines: the same weights with all tokens, timed in turn with the bar; beside it, how many times faster the bar is, the median over the pairs."}, "image": {"alt": "Bars for the dense model, DyViT with a keep ratio of 0.7, and DoViT of each backbone; a row of two panels, throughput and FPS, for each data set, image size and device."}}
recorded = curves.recorded("dovit_speed")
shown = segmentation_tables.segmenters_in(recorded, ("dense", "dyvit70", "dovit"))
cost_plots.speed_bars(recorded, shown)
plots.plt.show()

# %% table={"name": "tab-dovit-fig3-speed", "caption": "The same numbers: images per second with half the distance of the quartiles, and the ratio to the dense model with half the width of its 95 % interval over pairs of timings."}
curves.speed_table(recorded, shown)

# %% [markdown]
# ## Time against multiply-accumulates
#
# On the solid line the clock shows all that the count of MACs promises *on the same images* (attention's own products
# included); on the dashed one it shows nine tenths.  Below zero a policy costs time.  *Benchmark*: images of 2048 and
# 8192 tokens, the sizes of Cityscapes, through an untrained ViT-Ti, on the GPU also a ViT-B, that is told how many of them to
# stop (`benchmarks/token_pass.py`).  The GPU is an H200; CUDA without *bf16* is single precision.

# %% mystnb={"figure": {"name": "fig-dovit-fig3-savings", "caption": "Time saved against MACs saved, with 95 % intervals over pairs of timings. Large markers: twice the size of training."}, "image": {"alt": "Scatter plots, one for each device and way of timing: time saved over multiply-accumulates saved for DoViT, DyViT and merged tokens, with a solid line where both are equal and a dashed one at nine tenths."}}
panels = curves.saving_panels(recorded) | curves.benchmarked()
cost_plots.saving_scatter(panels)
plots.plt.show()

# %% table={"name": "tab-dovit-fig3-savings", "caption": "Trained models at twice the size of training, and the benchmark: what is saved of MACs and of time, and the one as a share of the other."}
curves.saving_table(curves.saving_panels(curves.timed(recorded, enlarged=True)) | curves.benchmarked())

# %% [markdown]
# **What the records say.**  Where tokens stop, time is saved: on street scenes, eight images at once, the clock shows most of what the
# count promises for the ViT-Ti under either decoder and for the lab's ViT, and nearly all of it at twice the size; for the lab's CRATE,
# which does a third of that ViT's linear work for as many patches, somewhat more than half, and three quarters.  One image at a time
# gains less at the size of training, perhaps because so small a model spends more of its time on deciding and moving; we have not taken
# its time apart.  At twice the size that is so of SETR with the ViT-Ti alone.  Where hardly any token stops, as in a CRATE on the composed scenes, DoViT is *slower* than the
# dense model: probes and gathering are paid for and nothing is gained, which is what the paper says of its small backbones' FPS.  The ViT
# there, which is spared little of its count, is as fast as without.
#
# **On a GPU it takes many tokens, and a large model for most of the promise.**  A ViT-B with 8192 tokens shows 0.87 to 0.93 of the
# count there, a ViT-Ti with as many about half.  At 2048 tokens a ViT-B shows a tenth to a half, and a ViT-Ti is slower than
# without stopping anything, and so is the lab's CRATE on composed scenes:
# the whole network takes a few milliseconds, and asking, gathering and attending to ragged images cost as much again.
#
# On the street, on the CPU, merged tokens save less time than DoViT and DyViT do for as many multiply-accumulates.

# %% [markdown]
# ## The verdict
#
# The paper's statement is about backbones that were trained on Cityscapes and never released; it stands here so that nobody looks
# for it in vain.

# %% table={"name": "tab-dovit-fig3-claims", "caption": "What was claimed, and why it is not decided here."}
tables.claims_table(recorded, "dovit_fig3_acceleration")

# %% [markdown]
# ## This run
#
# A few images of the profile's data sets through the models at hand, here and now.  Such a timing is shown and never
# compared: it says as much of what else this machine is doing as of the models.

# %% tags=["nbval-ignore-output"] mystnb={"figure": {"name": "fig-dovit-fig3-live", "caption": "This run, on whatever machine built this page."}, "image": {"alt": "Bars of throughput and FPS of the models that are at hand."}}
live = []
for scenery, plan in chosen.segmentations.items():
    for name, (model, _) in chosen.segmenters(scenery, data_root=data_root, device=device).items():
        images = speed.timed_images(plan.open(data_root, limit or 8), limit or 8, shorter=plan.view.shorter)
        live += speed.speed_records(
            model, images, {name: model.policy}, data=plan.data, command="dovit_fig3", seed=seed
        )
cost_plots.speed_bars(live, list(dict.fromkeys(record.model for record in live)))
plots.plt.show()

# %% [markdown]
# ## What differs from the paper, and why
#
# - **Scale.**  ViT-Ti and the lab's six-layer backbones on images of a few hundred tokens, where a layer takes so little
#   time that gathering and deciding weigh more than at the paper's 8192 tokens; the benchmark is there for the latter.
# - **Whole images, all alike.**  The paper times random crops of 512 × 512 pixels for throughput.
# - **Batches.**  Every image of a batch keeps its own number of tokens; the official code gives all images of a batch
#   the same number, which is easier to run fast and makes a result depend on its batch.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
