# %% [markdown]
# (chapter-fig14)=
# # CRATE beside ViT: is it the layer?
#
# **The claim** ({cite:t}`yu2023emergence`, Fig. 14).  On photographs of COCO the class token of a supervised CRATE looks
# at the objects, and that of a supervised ViT does not.  The paper shows the last layer but one of CRATE and the last of
# ViT.
#
# **Our question.**  How much of this is the choice of the layers?  Here are both layers of both models, in pictures and
# in numbers.  How such a map is made, and what single heads show, is in {ref}`chapter-fig1`.

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

from wbcore import claims, evaluate, plots, profiles, records, showing, tables
from wbcore.data.cutouts import photographs
from wbcore.metrics.attention import keep_mass
from wbcore.plots import Overlay

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
names = {-2: "last but one", -1: "last"}
shown = [("crate", -2), ("vit", -1), ("crate", -1), ("vit", -2)]  # the first two are Fig. 14's choice
titles = [f"{plots.label(model)}\n{names[layer]}" for model, layer in shown]
subjects = {one.name: one for one in chosen.subjects(("crate", "vit"), data_root=data_root, device=device)}

# %% [markdown]
# ## The pictures
#
# All whole photographs of the pack, of the kind that COCO holds; no model was trained on them, and none was chosen by its maps.
# A map is the mean of all heads, drawn from its own least value (dark) to its own greatest (bright), so compare the
# patterns of two maps and not their brightness.  The models were trained at 72 px and see 216 px here: 27 × 27 tokens.
# The first two maps are Fig. 14's choice of layers, the other two are the other way round.

# %% mystnb={"figure": {"name": "fig-fig14", "caption": "Mean attention of all heads: Fig. 14's choice of layers, then the other two."}, "image": {"alt": "Twelve rows, one for each photograph: the image and four attention maps, of CRATE in the last layer but one, of ViT in the last, of CRATE in the last and of ViT in the last but one, as blocks from dark violet to yellow."}}
examples = photographs()
maps, spread = [], {}
for title, (model, layer) in zip(titles, shown, strict=True):
    reads = [subjects[model].read(showing.resize(one.image, figure_size)[None]) for one in examples]
    heads = [read.attention[layer][0].unflatten(-1, read.grid) for read in reads]
    maps.append([Overlay(one.mean(dim=0).numpy()) for one in heads])
    kept = [keep_mass(read.attention[layer], 0.6) for read in reads]
    spread[title] = sum(float(one.double().mean()) for one in kept) / len(kept)
pictures = [evaluate.square(example.image, 288) for example in examples]
plots.picture_grid(pictures, dict(zip(titles, maps, strict=True)), side=1.4, alone=True)
plots.plt.show()

# %% [markdown]
# Why do the maps of ViT look so empty?  The share of a photograph that holds 60 % of a head's mass, mean over the heads
# and the photographs above:

# %% tags=["nbval-ignore-output"]
for title, share in spread.items():
    print(f"{' '.join(title.split()):20} {100 * share:4.1f} % of the tokens")

# %% [markdown]
# ## Both layers of both models, in numbers
#
# What was recorded at the models' own 72 px: the map cut to 60 % of its mass, best head for each class, mIoU image by
# image.  Does CRATE lead by Fig. 14's choice, and by every other?

# %% table={"name": "tab-fig14-order", "caption": "CRATE against ViT under each choice of the two layers; Fig. 14's is the second."}
recorded = records.load_records(records.RESULTS / "table2")
data = ("coco200", "weizmann", "cutouts")
choices = {f"CRATE {names[one]}, ViT {names[other]}": {"crate": one, "vit": other} for one in names for other in names}
renamed = [
    replace(one, metric=f"{choice}, {rule}")
    for choice, layers in choices.items()
    for rule in ("mass60", "entries60", "entries20")
    for model, layer in layers.items()
    for one in records.select(recorded, model=model, metric=f"attention_miou/{rule}/layer{layer}")
]
tables.order_table(renamed, ("crate", "vit"), [(name, f"{choice}, mass60") for name in data for choice in choices])

# %% [markdown]
# And Fig. 14's choice with masks that ask for the *order* of the tokens only: the 60 % of them with most attention, or the
# 20 %, however much of the mass they hold.

# %% table={"name": "tab-fig14-entries", "caption": "Fig. 14's choice of layers with masks of 60 % and of 20 % of the entries."}
rules = [f"{list(choices)[1]}, {rule}" for rule in ("entries60", "entries20")]
tables.order_table(renamed, ("crate", "vit"), [(name, rule) for name in data for rule in rules])

# %% [markdown]
# The claims of the page {doc}`/book/claims` that this chapter bears on:

# %%
{one.id: claims.decide(one, recorded).verdict for one in claims.load_claims() if "attention-beats-vit" in one.id}

# %% [markdown]
# ## This run
#
# The same differences now, on the data of the profile: scenes of held-out objects on held-out backgrounds (`lab`), or
# PASCAL VOC (`paper`).

# %% tags=["nbval-ignore-output"] table={"name": "tab-fig14-live", "caption": "CRATE against ViT under each choice of the two layers, in this run."}
measured = chosen.measure(
    list(subjects.values()),
    data_root=data_root,
    limit=limit,
    device=device,
    kinds=("attention",),
    command="fig14_crate_vs_vit",
)
live = [
    replace(one, metric=choice)
    for choice, layers in choices.items()
    for model, layer in layers.items()
    for one in records.select(measured, model=model, metric=f"attention_miou/mass60/layer{layer}")
]
tables.order_table(live, ("crate", "vit"), [(chosen.attention.data, choice) for choice in choices])

# %%
for choice in choices if profile == "lab" and limit is None else ():
    crate, vit = (records.select(live, model=model, metric=choice)[0] for model in ("crate", "vit"))
    assert records.greater(crate, vit).verdict == "holds", choice

# %% [markdown]
# **Verdict**, at this scale and for one seed.  The difference is in the pictures: in the last layer but one CRATE's map has
# the shape of the castle, the cup, the rocket and the flower under the bee; near the dogs it has that of the
# window, and from the ladybird it takes in the leaves.  ViT's maps are a few bright tokens in either layer, most of them *on*
# the object.
#
# - **It is not the choice of layers.**  Exchanging them never changes the sign of CRATE's lead by mass.  ViT's layer hardly
#   matters; CRATE's last layer instead of its last but one halves the lead on photographs.
# - **It is how widely the attention is spread.**  Where a mask asks for the order of the tokens only, next to nothing of the
#   lead remains on COCO-200 and little on Cutouts; on the horses some of it does.  Ranked by its attention
#   ViT's tokens segment nearly as well, but all its mass lies on so few of them that neither eye nor rule sees the others.
#
# ## What differs from the paper, and why
#
# - **Scale.**  Width 192, depth 6, patches of 8, trained at 72 px on composed scenes; the paper: width 384, depth 12, 224 px,
#   ImageNet-21k.
# - **Images.**  The paper's photographs of COCO are not shipped; the pack's own are drawn, and COCO is in the numbers only.
# - **Mean of all heads.**  The paper shows one map per image and does not say of which head.
# - **ViT** shares every part with CRATE but attention and feed-forward ({ref}`chapter-table2`).
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
