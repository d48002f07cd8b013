"""Self-contained HTML reports: one file, no script, no request, readable in light and dark and on paper.

The functions return HTML text; whatever comes from data must pass through ``escape`` or one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Tile", "banner", "escape", "figure", "figures", "page", "section", "table", "tiles"]


@dataclass(frozen=True)
class Tile:
    """One headline number; ``tone`` is "", "good", "warn" or "bad"."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


def page(title: str, subtitle: str, body: str, footer: str = "") -> str:
    """A whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head><body><main>"
        f'<header><h1>{escape(title)}</h1><p class="sub">{escape(subtitle)}</p></header>'
        f"{body}<footer>{escape(footer)}</footer></main></body></html>\n"
    )


def banner(headline: str, text: str, tone: str = "") -> str:
    """How it ended, in words, before everything else; ``tone`` as a tile's."""
    return f'<div class="banner {tone}"><b>{escape(headline)}</b><p>{escape(text)}</p></div>'


def tiles(items: Sequence[Tile]) -> str:
    """A row of headline numbers."""
    return '<div class="tiles">' + "".join(_tile(item) for item in items) + "</div>"


def _tile(item: Tile) -> str:
    note = f"<small>{escape(item.note)}</small>" if item.note else ""
    return f'<div class="tile {item.tone}"><span>{escape(item.label)}</span><b>{escape(item.value)}</b>{note}</div>'


def section(title: str, body: str, note: str = "") -> str:
    """A titled part of the page; ``body`` is HTML."""
    lead = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{body}</section>"


def figure(svg: str, caption: str, note: str = "") -> str:
    """A plot with its caption above it."""
    lead = f" <small>{escape(note)}</small>" if note else ""
    return f"<figure><figcaption>{escape(caption)}{lead}</figcaption>{svg}</figure>"


def figures(items: Sequence[str]) -> str:
    """Figures side by side, as many as the window is wide."""
    return '<div class="figures">' + "".join(items) + "</div>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A table; cells are HTML (escape what comes from data), columns in ``numeric`` are set to the right."""
    head = "".join(
        f'<th class="{_side(index, numeric)}">{escape(name)}</th>' for index, name in enumerate(header)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{_side(index, numeric)}">{cell}</td>' for index, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _side(index: int, numeric: Sequence[int]) -> str:
    return "n" if index in numeric else ""


_CSS = """
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b2230;--soft:#667085;--rule:#e4e7ec;--c1:#2f6fde;--c2:#e8743b;--c3:#19a979;
--c4:#945ecf;--c5:#13a4b4;--c6:#c93f7c;--good:#17805a;--warn:#b26a00;--bad:#c0352b}
@media (prefers-color-scheme:dark){:root{--bg:#12161d;--card:#1a2029;--ink:#e6eaf0;--soft:#98a2b3;--rule:#2b3340;
--c1:#6ea0ff;--c2:#ff9d6c;--c3:#4fd1a5;--c4:#bd93f0;--c5:#57cbd8;--c6:#f07fb1;--good:#4fd1a5;--warn:#f0b35a;--bad:#ff8a80}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:36px 24px 60px}h1{margin:0;font-size:30px;letter-spacing:-.02em}
h2{margin:0 0 4px;font-size:19px;letter-spacing:-.01em}.sub{margin:4px 0 26px;color:var(--soft)}
section{background:var(--card);border:1px solid var(--rule);border-radius:14px;padding:22px 24px;margin:18px 0}
.note{margin:0 0 14px;color:var(--soft)}
.tiles{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(165px,1fr))}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:14px;padding:14px 18px}
.tile span{display:block;color:var(--soft);font-size:13px}.tile b{display:block;font-size:25px;letter-spacing:-.02em;
font-variant-numeric:tabular-nums}.tile small{color:var(--soft)}
.good b{color:var(--good)}.warn b{color:var(--warn)}.bad b{color:var(--bad)}
.figures{display:grid;gap:22px 30px;grid-template-columns:repeat(auto-fill,minmax(330px,1fr))}
figure{margin:0;min-width:0}
figcaption{font-weight:600;margin-bottom:6px}figcaption small{font-weight:400;color:var(--soft);margin-left:6px}
.plot{width:100%;height:auto;display:block}.grid{stroke:var(--rule)}.tick{fill:var(--soft);font-size:11.5px}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}.empty{fill:var(--rule)}
.c1{fill:var(--c1)}.c2{fill:var(--c2)}.c3{fill:var(--c3)}.c4{fill:var(--c4)}.c5{fill:var(--c5)}.c6{fill:var(--c6)}
.l1{stroke:var(--c1)}.l2{stroke:var(--c2)}.l3{stroke:var(--c3)}.l4{stroke:var(--c4)}.l5{stroke:var(--c5)}.l6{stroke:var(--c6)}
rect.c1:hover,rect.c2:hover,rect.c3:hover{opacity:.75}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px}th,td{text-align:left;padding:6px 12px 6px 0;
border-bottom:1px solid var(--rule);white-space:nowrap}th{color:var(--soft);font-weight:500}.n{text-align:right;
font-variant-numeric:tabular-nums}tbody tr:last-child td{border-bottom:0}.bad-text{color:var(--bad);font-weight:600}
.warn-text{color:var(--warn);font-weight:600}.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
footer{color:var(--soft);font-size:13px;margin-top:26px}
.good-text{color:var(--good)}.wrap{white-space:normal;overflow-wrap:anywhere}.reasons{margin:12px 0 0;padding-left:20px}
figure+figure{margin-top:22px}.figures figure+figure{margin-top:0}section .tiles{margin-bottom:18px}
section table+figure,.scroll+figure,.scroll+.figures,figure+.scroll,figure+.note{margin-top:20px}
.banner{background:var(--card);border:1px solid var(--rule);border-left:7px solid var(--soft);border-radius:14px;
padding:18px 24px;margin:0 0 18px}
.banner b{font-size:24px;letter-spacing:-.02em}.banner p{margin:4px 0 0;font-size:16px}
.banner.good{border-left-color:var(--good)}.banner.warn{border-left-color:var(--warn)}.banner.bad{border-left-color:var(--bad)}
.area{opacity:.88}.mark{stroke:var(--soft);stroke-dasharray:3 3}.mark.good{stroke:var(--good)}
.mark.warn{stroke:var(--warn)}.mark.bad{stroke:var(--bad)}
.limit{stroke:var(--bad);stroke-width:1.4;stroke-dasharray:7 4}.bad-ink{fill:var(--bad)}
.good-ink{fill:var(--good)}.warn-ink{fill:var(--warn)}.lane{fill:var(--ink);font-size:12.5px}.span{fill:var(--rule)}
.span.good{fill:var(--good);opacity:.3}.span.warn{fill:var(--warn)}.span.bad{fill:var(--bad)}.span.busy{fill:var(--c1);opacity:.45}
.span-text{fill:var(--ink);font-size:11.5px}.span-text.warn,.span-text.bad{fill:var(--card);font-weight:600}
.whisker{stroke-width:2.4;stroke-linecap:round}
@media print{body{background:#fff}section,.tile{break-inside:avoid;border-color:#ddd}}
"""
