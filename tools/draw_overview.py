"""Draw the picture on the first page of the book and of the README.  Usage: python tools/draw_overview.py"""

from wbcore import evaluate, plots, profiles
from wbcore.data.cutouts import CutoutScenes
from wbcore.files import ROOT, open_atomically

VARIANTS = ("crate", "crate_mlp", "crate_mhsa", "vit")
SCENES = (0, 1, 2)


def main() -> None:
    plots.use_style()
    lab = profiles.profile("lab")
    scenes = CutoutScenes("segmentation", size=288, count=20, seed=1)
    examples = [scenes[index] for index in SCENES]
    subjects = lab.subjects(lab.trained(VARIANTS))
    looks = {plots.label(one.name): evaluate.look(one, examples, size=lab.figure_size, layer=-2) for one in subjects}
    figure = plots.picture_grid([example.image for example in examples], looks, side=2.2)
    with open_atomically(ROOT / "book" / "_static" / "overview.jpg") as stream:
        figure.savefig(stream, format="jpg", pil_kwargs={"quality": 90, "subsampling": 0})


if __name__ == "__main__":
    main()
