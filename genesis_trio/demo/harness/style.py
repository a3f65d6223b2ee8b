"""The colours and shapes of the report; one set for light and one for dark."""

__all__ = ["PAGE", "PLOTS"]

_LIGHT = """--paper:#fff;--panel:#f6f7f8;--ink:#1a1d21;--muted:#5c6570;--line:#dfe3e8;--protected:#0b6e99;--bare:#b4530a;
--down:#c5283d;--safe:#e0a526;--emergency:#a3358f;--gone:#3c434b;--normal:#9cc9dc;--hatch:#c3c9d0;--good:#1f7a4d"""
_DARK = """--paper:#14171b;--panel:#1c2127;--ink:#e8ebee;--muted:#9aa5b1;--line:#323a43;--protected:#5cb8de;--bare:#f0954a;
--down:#f0606f;--safe:#e8b64c;--emergency:#d77bc6;--gone:#aab4bf;--normal:#2f6d87;--hatch:#48525d;--good:#5cc191"""

_COLOURS = f":root{{color-scheme:light dark;{_LIGHT}}}@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}"

#: What the plots need, wherever they stand.
PLOTS = (
    _COLOURS
    + """
svg{font:13px/1.2 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
svg text{fill:var(--ink)}svg .muted{fill:var(--muted);font-size:12px}svg .label{font-weight:600}
svg .halo{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
svg .figure{font-size:17px;font-weight:700}svg .title{font-size:20px;font-weight:700}
.ink-protected,svg .ink-protected{fill:var(--protected);color:var(--protected)}
.ink-bare,svg .ink-bare{fill:var(--bare);color:var(--bare)}
.grid{stroke:var(--line);stroke-width:1}.ground{fill:var(--panel)}.paper{fill:var(--paper)}
.fault-line{stroke:var(--muted);stroke-width:1;stroke-dasharray:2 3;opacity:.7}
.fault{fill:var(--ink)}svg .fault-number{fill:var(--paper);font-size:11px;font-weight:700}
rect.protected{fill:var(--protected)}rect.bare{fill:var(--bare)}rect.down{fill:var(--down)}
rect.venue-down{fill:url(#hatch)}.hatch-ground{fill:var(--panel)}.hatch-line{fill:var(--hatch)}
.mode-NORMAL{fill:var(--normal)}.mode-SAFE{fill:var(--safe)}.mode-EMERGENCY{fill:var(--emergency)}.mode-down{fill:var(--gone)}
.curve{fill:none;stroke-width:2.5;stroke-linejoin:round}.curve-protected{stroke:var(--protected)}
.curve-bare{stroke:var(--bare);stroke-dasharray:7 3}
.bound{stroke:var(--ink);stroke-width:2}
.mark-protected{fill:var(--protected)}.mark-bare{fill:var(--paper);stroke:var(--bare);stroke-width:2}
.dot{opacity:.85}.dot.mark-bare{stroke-width:1.5}svg .unknown{font-size:17px;font-weight:700}
"""
).replace("\n", "")

#: The page around them.
PAGE = """
*{box-sizing:border-box}body{margin:0 auto;max-width:960px;padding:28px 20px 56px;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:28px;line-height:1.2;margin:0 0 8px;letter-spacing:-.01em}h2{font-size:19px;margin:44px 0 4px}
p{margin:0 0 12px;max-width:68ch}p.key{max-width:none}p.about,.key{color:var(--muted);font-size:14px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(260px,1fr));gap:14px;margin:22px 0 6px}
.card{background:var(--panel);border-radius:10px;padding:14px 18px;border-top:4px solid var(--line)}
.card.protected{border-color:var(--protected)}.card.bare{border-color:var(--bare)}
.card b{display:block;font-size:36px;line-height:1.15;font-variant-numeric:tabular-nums;letter-spacing:-.02em}
.card h3{margin:0;font-size:15px}.card span{color:var(--muted);font-size:14px}
.card ul{margin:10px 0 0;padding:0;list-style:none;font-size:15px}.card .bad{color:var(--down);font-weight:600}
.verdict{font-weight:600;margin:14px 0 0}.good{color:var(--good)}.bad{color:var(--down)}
svg{display:block;width:100%;height:auto;margin:8px 0}svg.narrow{display:none}svg.defs{position:absolute;width:0;height:0;margin:0}
@media(max-width:640px){svg.wide{display:none}svg.narrow{display:block}h1{font-size:23px}body{padding:20px 14px 40px}}
.key i{display:inline-block;width:14px;height:12px;margin:0 5px 0 14px;vertical-align:-1px;border-radius:2px}.key i:first-child{margin-left:0}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:15px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 10px;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;min-width:8em;padding-left:0;white-space:normal}th{font-weight:600}thead th{color:var(--muted);font-size:14px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;font-size:14px;margin:8px 0}dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}
.found{display:block;color:var(--down);font-size:13px;white-space:normal}
""".replace("\n", "")
