# %% [markdown]
# (chapter-table3)=
# # Table 3: smaller, and a little worse at names
#
# **The claim** ({cite:t}`yu2023emergence`, Table 3 and appendix C.2).  CRATE is a classifier that transfers: trained on
# ImageNet-21k and fine-tuned on other data, it names photographs well with far fewer parameters than a ViT of its width.
#
# **Our question.**  Do the printed numbers of parameters follow from the architecture?  And when a CRATE and a ViT that
# differ in attention and feed-forward alone are fine-tuned on new data by one recipe: who is better, and how much of it
# comes from what was learned before?

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 1
limit = None

# %%
import time
from dataclasses import replace

from wbcore import plots, profiles, records, tables
from wbcore.metrics.intervals import Interval
from wbcore.models import model_config

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
names = ("crate_tiny", "crate_small", "crate_base", "vit_tiny", "vit_base")
rows = records.paper_values("crate_table3")

# %% [markdown]
# ## What the paper printed

# %% table={"name": "tab-table3-paper", "caption": "The paper's Table 3: millions of parameters, and top-1 in percent."}
paper = tables.paper_table("crate_table3", names)
paper["paper"]

# %% mystnb={"figure": {"name": "fig-table3-paper", "caption": "The same as a picture: top-1 against millions of parameters, as the paper printed both."}, "image": {"alt": "Five panels, one for each data set: top-1 against parameters on a logarithmic axis, three points for CRATE and two for ViT."}}
printed = {row["model"]: float(row["value"]) for row in rows if row["metric"] == "parameters"}
panels = {
    data: {
        kind: {
            round(printed[row["model"]]): Interval(float(row["value"]), None, None, 0)
            for row in rows
            if row["data"] == data and row["model"].startswith(kind)
        }
        for kind in ("crate", "vit")
    }
    for data in dict.fromkeys(row["data"] for row in rows if row["metric"] == "top1")
}
figure = plots.curves(panels, units=["top-1 (%)"] * 5, axes=["million parameters"] * 5, columns=3)
for axis in figure.axes[:5]:
    axis.set_xscale("log")
    axis.set_xticks([6, 10, 14, 39, 103], ["6", "10", "14", "39", "103"])
    axis.minorticks_off()
plots.plt.show()

# %% [markdown]
# At equal width (T with T, B with B) ViT is better on every data set, and on each of them the distance shrinks with size.
# Against the number of *parameters* CRATE-S and CRATE-B lie about on the line between the two ViTs, if ViT-T is where it was
# printed.
#
# ## Do the numbers of parameters follow from the architecture?
#
# By formula, part by part in millions, and counted on the model itself, with the head of ImageNet-21k for its 21,841 classes.

# %% table={"name": "tab-table3-parameters", "caption": "Parameters: printed, by part, by formula, counted, and by how many millions the count is off the print."}
configs = {name: model_config(f"{name}_patch8_224", num_classes=21841) for name in names}
tables.parameter_table(configs, printed)

# %% [markdown]
# Most of a small model is its head.  All three CRATEs are what was printed, ViT-B is too but for the last digit (one more
# LayerNorm before the head, which the official ViT has, would make it 102.61).  **ViT-T is not**: it should have more than
# half a million parameters more than a ViT of CRATE-T's width has.  What one would have to change:

# %% table={"name": "tab-table3-vit-tiny", "caption": "The printed ViT-T against a plain one and one change at a time, in parameters."}
changes = {
    "none": {},
    "patches of 16 px": {"patch_size": 16},
    "patches of 4 px": {"patch_size": 4},
    "patches of 32 px": {"patch_size": 32},
    "images of 384 px": {"image_size": 384},
    "images of 512 px": {"image_size": 512},
    "13 layers": {"depth": 13},
    "14 layers": {"depth": 14},
    "4 heads of 64": {"heads": 4, "dim_head": 64},
    "6 heads of 64": {"heads": 6, "dim_head": 64},
    "MLP of 5 times the width": {"mlp_ratio": 5.0},
    "width 200": {"dim": 200, "heads": 4},
    "a second layer in the head": {"head_dim": 192},
    "no biases of queries, keys and values": {"qkv_bias": False},
    "21,843 classes": {"num_classes": 21843},
}
variations = {name: replace(configs["vit_tiny"], **change) for name, change in changes.items()}
tables.parameter_table(variations, dict.fromkeys(variations, printed["vit_tiny"]))[["paper", "formula", "off by"]]

# %% [markdown]
# None of these alone gives 10.36 million.  Images of 512 px and a width of 200 come nearest from above, four heads of 64 from
# below; nothing in the paper speaks for any of them.  Four heads of 64 without those biases *and* a second layer in the
# head would give it to the digit, but a search through pairs finds something for any number.  So what the printed ViT-T was
# remains open, and with it how the two are matched in the columns T.
#
# ## What we expected
#
# Written before anything was trained, and so were the claims on {doc}`/book/claims`; but for four passes over CIFAR-10 at
# 40 px, for which the machine then had no time.
#
# - CIFAR-10: ViT ahead of CRATE by 4 points (± 4); fine-tuned ahead of from scratch by 8 points (± 6), for both.
# - New names of Cutouts: fine-tuned ahead of from scratch by 30 points or more, for both; ViT ahead of CRATE by 8 points (± 8).
#
# ## Fine-tuned in the lab
#
# CRATE and ViT of {ref}`chapter-table2`, seed 0, with a new head, and as a control the same networks from scratch, all with
# the same budget:
#
# - **CIFAR-10**, one pass over all 50,000 photographs; tested on all 10,000.  At their own 32 px, which are 4 × 4 patches.
# - **Cutouts, new names**: 55 cut-outs that neither model has seen, in 12,000 scenes over backgrounds of the training; tested in 2,000
#   scenes over backgrounds that were never trained on.
#
# *Cutouts, names* is what the two were pre-trained for ({ref}`chapter-table2`).  Top-1 in percent ± half of Wilson's 95 %
# interval.

# %% table={"name": "tab-table3", "caption": "Top-1 after fine-tuning and from scratch, in percent with 95 % intervals over images; the last column is before fine-tuning."}
studies = [f"table3_{data}{ending}" for data in ("cifar10", "cutouts") for ending in ("", "_scratch")]
recorded = [one for study in studies for one in records.load_records(records.RESULTS / study)]
before = records.select(records.load_records(records.RESULTS / "table2"), metric="top1", data="cutouts_recognition")
models = ("crate", "vit", "crate_scratch", "vit_scratch")
columns = [(data, "top1") for data in ("cifar10", "cutouts_transfer", "cutouts_recognition")]
first = [one for one in before if one.seeds == (0,)]
tables.record_table("recorded (lab)", [*recorded, *first], models, columns)["recorded (lab)"]

# %% mystnb={"figure": {"name": "fig-table3-forest", "caption": "Top-1 with 95 % intervals. Hollow: from scratch, with the same budget."}, "image": {"alt": "Forest plot, a panel for each data set: fine-tuned CRATE and ViT in colour, the two from scratch hollow and grey."}}
plots.forest(
    {plots.data_label(one): records.select(recorded, data=one) for one in dict.fromkeys(one.data for one in recorded)},
    {"top1": "top-1"},
    unit="top-1 (%)",
)
plots.plt.show()

# %% [markdown]
# Each model against the other, and against itself without what it had learned:

# %% table={"name": "tab-table3-order", "caption": "Differences in points of top-1, with 95 % intervals over images."}
tables.order_table(recorded, ("vit", "crate", "crate_scratch"), columns[:2])

# %% [markdown]
# The claims of Table 3:

# %% table={"name": "tab-table3-claims", "caption": "What the records say of the claims of Table 3."}
tables.claims_table([*recorded, *before], "table3_transfer")

# %% [markdown]
# ## This run
#
# The fine-tuned weights measured now: CRATE's of the new names, which ship with the repository, on 500 of the scenes (`lab`;
# ViT's are four times as large and recorded only), or every fine-tuned model of Table 3 whose weights are below `data_root` (`paper`), for example
# `weights/crate_tiny_patch8_224-cifar10.safetensors`.

# %% tags=["nbval-ignore-output"] table={"name": "tab-table3-live", "caption": "Top-1 in this run, in percent."}
measured = chosen.recognise(data_root=data_root, limit=limit, device=device, command="table3_transfer")
live = dict.fromkeys((one.data, one.metric) for one in measured)
tables.record_table("this run", measured, list(chosen.fine_tuned), list(live))

# %%
for one in measured if profile == "lab" and limit is None else ():
    (stored,) = records.select(recorded, model=one.model, data=one.data)
    assert abs(one.value - stored.value) < 0.05, (one.model, one.value, stored.value)

# %% [markdown]
# **Verdict**, at this scale.  The claim on the names that both were trained on rests on three runs, all others on one.
#
# - **The numbers of parameters follow** from the architecture, for every CRATE and for ViT-B; the printed ViT-T is another
#   network than its name says, so at the tiny size the paper does not compare equal widths, or misprints one of them.
# - **ViT learns new names better**, as the paper says of all its data sets and as {ref}`chapter-table2` found for the names that both
#   were trained on; by about as much as we expected.  What CRATE has in return are masks, and a quarter of the
#   parameters in its layers.
# - **What was learned before helps with what is like it.**  Composed scenes teach both models most of what they need to name new
#   cut-outs, and little that CIFAR-10's photographs ask for: there the gain over the same training from scratch is clear of
#   zero for CRATE, and whether it reaches the two points we had asked for is undecided.
#
# ## What differs from the paper, and why
#
# - **What was learned before.**  Width 192, depth 6, 72 px, 227 cut-outs in composed scenes; the paper: ImageNet-21k at 224 px.
# - **The recipe.**  The paper's optimiser, schedule and weight decay (AdamW, cosine, 0.01), with random crops and mirroring.
#   Changed for minutes on one core: one pass over CIFAR-10, not 200, and 32 px, not 224; a learning rate of 1e-3, not 5e-5,
#   and a batch of 64, not 256, because so few steps have to go further; crops of 35 % of the area or more, not 8 %, because 8 %
#   of 32 px are 9 px; no RandAugment, which takes longer than half of such a training and prevents what one pass cannot
#   do, learning by heart.  The learning rate was chosen from 2e-4, 5e-4 and 1e-3 by one pass over 12,800 photographs of
#   CIFAR-10's training set at 40 px, tested on 2,000 others of it: the largest was best for both models fine-tuned, and no
#   worse than the next for CRATE from scratch; ViT from scratch was not tried with it.
# - **The accuracy after the last epoch** counts.  The official code reports the best epoch on the test set.
# - **One seed.**  The intervals are over images; another training run may move each number by a point or two.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
