# %% [markdown]
# (chapter-fig1)=
# # Where the class token looks: attention maps of CRATE and ViT
#
# **The claim** ({cite:t}`yu2023emergence`, Figs. 1 and 14).  Draw, beside a photograph, how much the class token of a
# supervised CRATE attends to each patch: "the CRATE architecture automatically learns to perform object segmentation".
# The same map of a supervised ViT does not show the object (Fig. 14).  There the maps are taken from the last layer but
# one of CRATE and from the last of ViT.
#
# **Our question.**  Is the difference in the pictures, is it in the numbers, and does it survive when the layers are
# exchanged?  The first half of this chapter is Fig. 1, the second Fig. 14.

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

from wbcore import claims, evaluate, plots, profiles, records, tables
from wbcore.data.cutouts import CutoutScenes, photographs
from wbcore.metrics.attention import keep_mass
from wbcore.plots import Overlay
from wbcore.subjects import baseline_subject

started = time.monotonic()
plots.use_style()
chosen = profiles.profile(profile)
layers = {"crate": -2, "vit": -1, "vit_dino": -1}  # Fig. 14's choice
names = {-2: "last but one", -1: "last"}
present = chosen.trained(list(layers), data_root=data_root)
subjects = {one.name: one for one in chosen.subjects(present, data_root=data_root, device=device)}

# %% [markdown]
# ## How the pictures are made
#
# The class token's row of the attention after the softmax, patches only, one map for each head and their mean.  A map is
# drawn as DINO's code draws it, from its own least value (dark) to its own greatest (bright), one block per token and
# nothing smoothed.  So every map uses all its colours, and brightness must not be compared between maps.
#
# Five of the pack's photographs of animals, and the first three scenes of held-out objects on held-out backgrounds;
# none was chosen by its maps.  The models were trained at 72 px and see 216 px here, with their position embeddings
# resized: 27 × 27 tokens draw what 9 × 9 can only hint at.

# %%
animals = ("cat", "two_dogs", "chameleon", "nuthatch", "ladybird")
scenes = CutoutScenes("segmentation", size=288, count=3, seed=seed)
examples = [one for one in photographs() if one.name in animals] + [scenes[index] for index in range(3)]
images = [evaluate.square(example.image, 288) for example in examples]
means, grids = {}, {}
for name, subject in subjects.items():
    for layer in names:
        found = evaluate.heads(subject, examples, size=figure_size, layer=layer)
        heats = [[one.heat for one in heads if one.heat is not None] for heads in found]
        means[name, layer] = [Overlay(sum(one[1:], one[0]) / len(one)) for one in heats]
        if layer == layers[name]:
            grids[name] = {"mean of heads": means[name, layer], **plots.by_head(found)}

# %% [markdown]
# ## Fig. 1: CRATE

# %% mystnb={"figure": {"name": "fig-fig1-crate", "caption": "CRATE, last layer but one: each image, the class token's attention over its patches averaged over the heads, and head by head. Where the objects are known, the IoU of the map cut to 60 % of its mass."}, "image": {"alt": "Eight rows, five photographs of animals and three composed scenes: the image, the mean attention map and six maps, one for each head, as blocks from dark violet to yellow."}}
plots.picture_grid(images, grids["crate"], side=1.35, alone=True)
plots.plt.show()

# %% [markdown]
# ## Fig. 14: ViT, on the same images

# %% mystnb={"figure": {"name": "fig-fig1-vit", "caption": "ViT, last layer; otherwise as the figure before."}, "image": {"alt": "The same eight images with the mean attention map and the six maps of ViT."}}
plots.picture_grid(images, grids["vit"], side=1.35, alone=True)
plots.plt.show()

# %% [markdown]
# On how many tokens does a head put its attention?  The share of an image that holds 60 % of a head's mass, mean over the
# heads and images above.

# %% tags=["nbval-ignore-output"]
for name, subject in subjects.items():
    reads = [subject.read(evaluate.resize(one.image, figure_size)[None]).attention for one in examples]
    for layer in names:
        share = sum(float(keep_mass(read[layer], 0.6).double().mean()) for read in reads) / len(reads)
        print(f"{plots.label(name):9} {names[layer]:12} {100 * share:4.1f} % of the tokens")

# %% [markdown]
# ## The other way round
#
# Fig. 14 shows different layers of the two models.  Here are both layers of both, all heads averaged.

# %% mystnb={"figure": {"name": "fig-fig1-layers", "caption": "Mean of all heads, in the last layer but one and in the last, of both models."}, "image": {"alt": "The same eight images with four maps each: CRATE last but one, CRATE last, ViT last but one, ViT last."}}
both = {f"{plots.label(name)}\n{names[layer]}": maps for (name, layer), maps in means.items()}
plots.picture_grid(images, both, side=1.5, alone=True)
plots.plt.show()

# %% [markdown]
# DINO's own ViT (Fig. 8) is drawn here in the profile `paper`, when its converted weights lie beside the others as
# `vit_dino_small_patch8_224`.

# %%
if "vit_dino" in grids:
    plots.picture_grid(images, grids["vit_dino"], side=1.35, alone=True)
    plots.plt.show()

# %% [markdown]
# ## The number beside the pictures
#
# mIoU of the maps cut to 60 % of their mass, best head for each class, at the models' own 72 px: means in percent ± half
# of the 95 % interval over images.  A map that knew nothing but "the object is in the middle" has the number of the
# centred blob.

# %% table={"name": "tab-fig1", "caption": "Attention mIoU in the last two layers, in percent with 95 % intervals over images."}
recorded = records.load_records(records.RESULTS / "table2")
rows = ("crate", "vit", "vit_tiny_pretrained", "untrained_crate", "untrained_vit", "random_heads", "centred_blob")
data = ("coco200", "weizmann", "cutouts")
columns = [(name, f"attention_miou/mass60/layer{layer}") for name in data for layer in names]
tables.record_table("recorded (lab)", recorded, rows, columns)["recorded (lab)"]

# %% [markdown]
# Does CRATE lead by Fig. 14's choice of layers (CRATE's last but one, ViT's last), and by every other?  Image by image.

# %% table={"name": "tab-fig1-order", "caption": "CRATE against ViT under each choice of the two layers."}
choices = {f"CRATE {names[crate]}, ViT {names[vit]}": (crate, vit) for crate in names for vit in names}
renamed = [
    replace(one, metric=choice)
    for choice, pair in choices.items()
    for name, layer in zip(("crate", "vit"), pair, strict=True)
    for one in records.select(recorded, model=name, metric=f"attention_miou/mass60/layer{layer}")
]
tables.order_table(renamed, ("crate", "vit"), [(name, choice) for name in data for choice in choices])

# %% [markdown]
# And is what CRATE's map shows more than that the object is in the middle?

# %% table={"name": "tab-fig1-blob", "caption": "CRATE against a blob in the centre of every image."}
tables.order_table(recorded, ("crate", "centred_blob"), columns)

# %% [markdown]
# The claims of the page {doc}`/book/claims` that this chapter bears on:

# %%
{one.id: claims.decide(one, recorded).verdict for one in claims.load_claims() if "attention-beats-vit" in one.id}

# %% [markdown]
# ## This run
#
# Is a map at 216 px, as drawn above, as good as one at the models' own size?  The first 40 scenes of the profile at both.

# %% tags=["nbval-ignore-output"] table={"name": "tab-fig1-live", "caption": "Attention mIoU at the models' own size and at that of the pictures."}
blob = baseline_subject("centred_blob", patch_size=8)
measured, live = [], []
for size in (chosen.attention.size, figure_size):
    dataset = replace(chosen.attention, size=size, limit=40).open(data_root, limit)
    title = f"{plots.data_label(chosen.attention.data)}, {size} px"
    live += [(title, f"attention_miou/mass60/layer{layer}") for layer in names]
    for subject in (*subjects.values(), blob):
        measured += evaluate.segmentation(
            subject, dataset, data=title, size=size, command="fig1_attention_maps", device=device, kinds=("attention",)
        )
tables.record_table("this run", measured, [*subjects, "centred_blob"], live)["this run"]

# %%
if profile == "lab" and limit is None:
    for title in dict.fromkeys(name for name, _ in live):
        found = records.select(measured, data=title, metric=live[0][1])
        crate, other = (records.select(found, model=name)[0] for name in ("crate", "centred_blob"))
        assert records.greater(crate, other).verdict == "holds", title

# %% [markdown]
# **Verdict**, at this scale and for one seed.  The difference is in the pictures and in the numbers.  In the last layer but
# one CRATE's maps cover a scene's object, and on the photographs the cat's face and the chameleon's body; on the
# nuthatch they light up the blurred background, and near the dogs the frame of the window.  Each head of ViT puts its
# mass on a handful of tokens.  Exchanging the layers changes the size of CRATE's lead, never its sign.
#
# Three things to keep in mind.
#
# - **Fig. 14's choice of layers favours CRATE.**  In its last layer CRATE is still ahead of ViT, but on photographs no longer
#   of a centred blob: undecided on COCO-200, and below it on the horses.
# - **The rule that makes a mask favours CRATE too.**  60 % of the mass of a ViT's head lies on very few of the tokens
#   drawn above; so few cannot cover an object, whatever they point at, and random heads do better on COCO-200.  Where the
#   mask is 60 % of the *entries*, as the appendix says, CRATE's lead there is undecided (above, and {ref}`chapter-table2`).
# - **The pictures are a little worse than the records**: at 216 px CRATE's last layer and both of ViT's lose several points
#   on the scenes; CRATE's last but one loses about two.
#
# ## What differs from the paper, and why
#
# - **Scale.**  Width 192, depth 6, patches of 8, trained at 72 px on composed scenes; the paper: CRATE-S/8, depth 12,
#   224 px, ImageNet-21k.
# - **All heads.**  The paper shows one map per image and does not say how its head was chosen; here are all of them and
#   their mean.
# - **Layers.**  Fig. 1 names no layer; Fig. 14 names different ones for the two models.  Both are above for both.
# - **Images.**  Only photographs and scenes that are shipped with the repository are drawn; the numbers are also of
#   COCO-200 and Weizmann.
#
# The whole list is on the page {doc}`/book/deviations`.

# %% tags=["nbval-ignore-output"]
from wbcore.provenance import provenance

{**provenance(device), "seconds": round(time.monotonic() - started, 1)}
