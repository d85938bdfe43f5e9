# %% [markdown]
# (chapter-sensitivity-maskcut)=
# # MaskCut's settings: what does the order of the models hang on?
#
# **The claim** ({cite:t}`yu2023emergence`, Table 2 and appendix B.4).  By the AP of MaskCut ({cite:t}`wang2023cut`) CRATE is
# ahead of its ablations and of ViT.  The appendix gives two settings, three masks and a threshold of τ = 0.15, "following
# the official implementation", and prints an affinity that this implementation does not have.
#
# **Our question.**  How far do the AP and the order of the models move when a setting is another one that could have been
# chosen as well?

# %% tags=["parameters"]
profile = "lab"
data_root = None
device = "cpu"
seed = 0
limit = None

# %%
import time
from dataclasses import replace

from wbcore import evaluate, plots, profiles, records, tables
from wbcore.data.cutouts import photographs
from wbcore.figures import maskcut_plots
from wbcore.recording.maskcut_recording import BASELINES, TRAINED, UNTRAINED, settings_of
from wbcore.tables import maskcut_tables
from wbcore.tables.order import pair_table

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
present = chosen.trained(("crate", "vit"), data_root=data_root)

# %% [markdown]
# ## What is varied
#
# :::{list-table} One setting at a time; the others stay as in {ref}`chapter-table1`.
# :header-rows: 1
# :name: tab-sensitivity-maskcut-settings
#
# * - setting
#   - Table 1
#   - others
#   - why it is open
# * - threshold τ
#   - 0.15
#   - 0 to 0.4
#   - 0.15 in the paper and in CutLER's README, 0.2 in CutLER's script
# * - affinity
#   - cosine
#   - inner products above 0.15, or above 15
#   - the paper prints inner products, summed over heads; the code divides by the lengths
# * - peak of the eigenvector
#   - positive
#   - negative
#   - its sign is arbitrary; the official code takes what the solver returns, and the rule of the corners depends on it
# * - masks N
#   - 3
#   - 1, 2, 4, 5
#   - how many objects an image has is not known
# * - side of the image
#   - 72 px
#   - 144 and 216 px
#   - the models were trained at 72 px; the paper's at 224 px, and are cut at 480 px
# * - layer
#   - the last
#   - every other
#   - the paper draws its Fig. 6 layer by layer
# * - CRF
#   - none
#   - at 72 px
#   - see {ref}`chapter-table1`
# :::
#
# *det AP*, in percent, is that of the masks' boxes, as in the paper's Table 2; equal scores, images by id.  400 held-out
# scenes of Cutouts, and 200 photographs of COCO.  One training run of each model.
#
# ## AP along the settings that have an order

# %% mystnb={"figure": {"name": "fig-sensitivity-maskcut-curves", "caption": "det AP along each setting; the dotted line is Table 1's. Bands: 95 % intervals over images, of what was trained. Grey: what has learned nothing."}, "image": {"alt": "Two rows of four panels, Cutouts above and COCO-200 below: det AP over the threshold, the number of masks, the side of the image and the layer, with a curve for each of four trained models, two untrained ones, random heads and a centred blob."}}
folders = ("table2", "fig6_depth", "table1_crf", "maskcut_settings")
recorded = [one for folder in folders for one in records.load_records(records.RESULTS / folder)]
metric, data = "maskcut_bbox/ap", ("cutouts", "coco200")
everything = (*TRAINED, *UNTRAINED, *BASELINES)
axes = {
    one: {
        axis: maskcut_tables.setting_curves(recorded, axis, everything, data=one, metric=metric, blind=BASELINES)
        for axis in maskcut_tables.AXES
    }
    for one in data
}
maskcut_plots.setting_figure({plots.data_label(one): panels for one, panels in axes.items()}, unit="det AP (%)")
plots.plt.show()

# %% [markdown]
# ## The lead of CRATE
#
# The difference of CRATE and each of the other three, and of CRATE and the blob, under every setting, on the same images.

# %% mystnb={"figure": {"name": "fig-sensitivity-maskcut-lead", "caption": "CRATE's det AP less that of another model, with 95 % intervals over images; right of the line CRATE leads. Filled: the whole interval is on one side."}, "image": {"alt": "Two panels, Cutouts and COCO-200: for each setting four dots with intervals, CRATE less CRATE-MLP, less CRATE-MHSA, less ViT and less the centred blob, around a vertical line at zero."}}
endings = ("", *(one.ending for one in settings_of("crate_mlp")), "_crf")
rivals = (*TRAINED[1:], "centred_blob")
lead = {
    plots.data_label(one): {
        rival: maskcut_tables.leads(recorded, "crate", rival, endings, data=one, metric=metric, blind=BASELINES)
        for rival in rivals
    }
    for one in data
}
maskcut_plots.lead_figure(lead, unit="difference in det AP (points)")
plots.plt.show()

# %% table={"name": "tab-sensitivity-maskcut-counts", "caption": "Under how many settings the first model's det AP is the greater one; in brackets, under how many its whole interval is above zero, and below."}
pairs = [("crate", rival) for rival in (*rivals, "random_heads")]
pairs += [(model, "vit") for model in ("crate_mhsa", "crate_mlp")] + [("vit", blind) for blind in BASELINES]
columns = [(one, metric) for one in data]
maskcut_tables.lead_counts_table(recorded, pairs, endings, columns, blind=BASELINES)

# %% [markdown]
# All this is of one training run of each network.  With the settings of Table 1 there are three:

# %% table={"name": "tab-sensitivity-maskcut-runs", "caption": "CRATE against the other three over three training runs, on Cutouts: the mean difference of runs with one seed, and its 95 % interval over other runs."}
runs = records.runs_of(recorded, TRAINED)
pair_table(runs, [("crate", rival) for rival in TRAINED[1:]], columns[:1], over="runs")

# %% [markdown]
# ## The order under every setting

# %% table={"name": "tab-sensitivity-maskcut-order", "caption": "The four trained models from best to worst, det AP in percent; > where the interval of two neighbours' difference is above zero, else ≈."}
maskcut_tables.order_by_setting_table(recorded, TRAINED, endings, columns, digits=2)

# %% table={"name": "tab-sensitivity-maskcut-spread", "caption": "Each model's det AP in percent as in Table 1, and the least and the greatest that a single other setting gives, chosen on the same images."}
maskcut_tables.spread_table(recorded, everything, endings, data=data, metric=metric)

# %% [markdown]
# ## The verdicts
#
# Written down, with their tests, before anything was measured with another setting than Table 1's.

# %% table={"name": "tab-sensitivity-maskcut-claims", "caption": "What the records say of CRATE's lead under other settings."}
tables.claims_table(recorded, "sensitivity_maskcut")

# %% [markdown]
# ## This run
#
# Three thresholds, on a few scenes (`lab`) or on the data of the profile.

# %% tags=["nbval-ignore-output"] table={"name": "tab-sensitivity-maskcut-live", "caption": "det AP of MaskCut in this run, in percent."}
thresholds = {"_tau5": 0.05, "": 0.15, "_tau40": 0.4}
subjects = [
    replace(subject, name=subject.name + ending)
    for ending, tau in thresholds.items()
    for subject in chosen.subjects(present, data_root=data_root, device=device, tau=tau)
]
count = limit or (12 if profile == "lab" else None)
measured = chosen.measure(
    subjects, data_root=data_root, limit=count, device=device, kinds=("maskcut",), command="sensitivity_maskcut"
)
names = [subject.name for subject in subjects]
tables.record_table("this run", measured, names, chosen.columns([], [metric]))["this run"]

# %% [markdown]
# The masks of these scenes must meet the same objects as the recorded ones.

# %%
for record in records.select(measured, metric=metric):
    (stored,) = records.select(recorded, model=record.model, data="cutouts", metric=metric, seeds=(0,))
    if profile == "lab" and stored.matches and record.matches:
        same = sum(one == other for one, other in zip(record.matches, stored.matches, strict=False))
        assert same >= 0.8 * record.n, (record.model, same, record.n)

# %% [markdown]
# First (yellow), second (blue) and third mask (pink) of two photographs, at three times the side of the training.

# %% mystnb={"figure": {"name": "fig-sensitivity-maskcut-masks", "caption": "The masks of the last layer at three thresholds."}, "image": {"alt": "Two photographs of animals; beside each the outlines of up to three masks, of CRATE and of ViT, at the thresholds 0.05, 0.15 and 0.4."}}
shown = [one for one in photographs() if one.name in ("chameleon", "two_dogs")]
columns_of_masks = {
    plots.label(subject.name): [replace(one, heat=None, caption="") for one in evaluate.look(subject, shown, size=216)]
    for subject in sorted(subjects, key=lambda one: one.name.split("_")[0])
}
plots.picture_grid([evaluate.square(example.image, 216) for example in shown], columns_of_masks, side=1.2)
plots.plt.show()

# %% [markdown]
# The threshold decides what is found beside the first mask: at 0.4 most of the chameleon's body becomes a mask of ViT, and
# from 0.15 on the frame of the dogs' window is one of CRATE's.
#
# **Verdict**, at this scale and for one seed.  On composed scenes CRATE's first place does not hang on the settings; how
# high its AP is does, and so does who comes second.  Over three training runs with the settings of
# {ref}`chapter-table1`, the lead over the ablations is decided, that over ViT is not ({numref}`tab-sensitivity-maskcut-runs`).
#
# - **The lead.**  On Cutouts CRATE is first under every setting but the first layer, and from the third layer on it is
#   measurably ahead of each of the three.  The claims that were written down beforehand hold there, with one exception.
# - **The level.**  Thresholds, affinities and numbers of masks move CRATE's AP by less than a quarter in either direction;
#   twice the side nearly doubles it, and the CRF triples it.  These two steps are larger than CRATE's lead: an AP with one
#   of them cannot be compared with one without.
# - **The second place.**  CRATE-MHSA is ahead of ViT under most settings, measurably under fewer than half of them; at
#   τ = 0.3 and above the order of the three is another one, and none of it is measurable.  Between ViT and CRATE-MLP
#   hardly anything is decided: one setting says this, one that.
# - **The printed affinity** gives what τ = 0 gives: features are long, and 0.15 is next to nothing beside their inner
#   products.  For CRATE this is better than the code's cosine, by more or less than half a point: that claim is undecided.
# - **The sign** of the eigenvector, which the official code leaves to chance, changes next to nothing.
# - **More than three masks** change next to nothing either; one mask alone has the highest AP, because first masks are the
#   best and an AP without scores counts all alike.
# - **On 200 photographs** CRATE's AP is above ViT's under every setting, but measurably under about half of them, and above
#   CRATE-MLP's measurably under a few.  Nor is it clear of random heads, whose boxes span most of the image: with one mask
#   these are ahead of every model, and ViT is behind them under most settings.  det AP on photographs is no sign that
#   objects were found; seg AP, where random heads have nothing, is a better one ({ref}`chapter-table1`).
#
# All settings share the images and the networks: twenty-one of them are not twenty-one experiments.
#
# ## What differs from the paper, and why
#
# - **Scale.**  Width 192, six layers, patches of 8 at 72 px, trained on composed scenes.
# - **det AP alone**, as in the paper's Table 2; one setting at a time, never two.
# - **The graph.**  The appendix sets entries of the affinity below τ to zero and says nothing of the others; the code makes
#   them 1 and the rest nearly 0.  So it is here, also for inner products.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
