"""Number the tables that code cells make, as the book's other tables are.

A cell says ``table={"name": "tab-…", "caption": "…"}`` in its metadata; its output then stands under a numbered caption
and can be referred to by ``{numref}`` and ``{ref}``.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.writers.html5 import HTML5Translator


class captioned_table(nodes.General, nodes.Element):
    """The output of a code cell under a caption."""


class CaptionTables(SphinxTransform):
    """Put a caption over the output of every cell that asks for one."""

    default_priority = 400

    def apply(self, **_options: Any) -> None:
        for cell in list(self.document.findall(nodes.container)):
            wanted = cell.get("cell_metadata", {}).get("table")
            if cell.get("nb_element") != "cell_code" or wanted is None:
                continue
            outputs = [part for part in cell.children if part.get("nb_element") == "cell_code_output"]
            if len(outputs) != 1:
                raise ExtensionError(f"{self.env.docname}: {wanted['name']} has no output to caption")
            table = captioned_table("", nodes.title("", "", nodes.Text(wanted["caption"])), names=[wanted["name"]])
            self.document.note_explicit_target(table)
            table += outputs[0].children
            outputs[0].children = [table]
            table.parent = outputs[0]


def visit(writer: HTML5Translator, node: nodes.Element) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="captioned-table"))
    title = node.next_node(nodes.title)
    writer.body.append('<div class="caption">')
    writer.add_fignumber(node)
    writer.body.append(f'<span class="caption-text">{writer.encode(title.astext())}</span>')
    writer.add_permalink_ref(node, "Link to this table")
    writer.body.append("</div>\n")
    node.remove(title)


def depart(writer: HTML5Translator, node: nodes.Element) -> None:  # noqa: ARG001
    writer.body.append("</div>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_enumerable_node(
        captioned_table, "table", lambda node: node.next_node(nodes.title).astext(), html=(visit, depart)
    )
    app.add_transform(CaptionTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
