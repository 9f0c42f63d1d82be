"""How a report looks: on a desk, on a phone, at night, on paper."""

# Variables for things that are told apart, such as exits and workers; c2 and c4 are pale.
DISTINCT = ("c0", "c1", "c5", "c3", "c6", "c7", "c2", "c4")

CSS = """
:root {
  color-scheme: light dark;
  --paper: #f5f6f8; --card: #ffffff; --ink: #16191d; --ink-2: #545c66; --line: #dde1e6;
  --good: #1a7f45; --note: #53606e; --warning: #b26a00; --bad: #c62f35;
  --good-bg: #e7f5ec; --note-bg: #edf0f3; --warning-bg: #fdf2dd; --bad-bg: #fdebec;
  --c0: #2f6fde; --c1: #e08a1e; --c2: #8fb8f5; --c3: #c2459b; --c4: #f5cd8f; --c5: #2b9c8f;
  --c6: #8257d6; --c7: #7d8794;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #111418; --card: #1a1f25; --ink: #e9ecef; --ink-2: #a3adb8; --line: #333b44;
    --good: #55c585; --note: #a3adb8; --warning: #e8ac4f; --bad: #ff7b80;
    --good-bg: #16301f; --note-bg: #262d35; --warning-bg: #38290f; --bad-bg: #3b1b1e;
    --c0: #6ea3ff; --c1: #f0a04b; --c2: #35548a; --c3: #e07cc0; --c4: #8a6230; --c5: #4fc3b4;
    --c6: #a98bf0; --c7: #8d98a5;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .7rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: .4rem 0; }
.sub, figcaption, .note { color: var(--ink-2); font-size: .9rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 16px; }
.tiles { display: grid; gap: 10px; margin: 14px 0;
  grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.tile b { display: block; font-size: 1.7rem; line-height: 1.2; font-weight: 650;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.tile .name { color: var(--ink-2); font-size: .85rem; }
.tile .more { color: var(--ink-2); font-size: .85rem; }
.verdict { border-left: 6px solid var(--note); margin: 14px 0; }
.verdict > b { font-size: 1.05rem; }
.verdict ul { margin: .5rem 0 0; padding: 0; list-style: none; }
.verdict li { padding: .35rem 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
.verdict li:first-child { border-top: 0; }
.good { border-left-color: var(--good); } .warning { border-left-color: var(--warning); }
.bad { border-left-color: var(--bad); }
.tag { display: inline-block; border-radius: 5px; padding: 0 .45em; font-size: .8rem;
  font-weight: 600; white-space: nowrap; }
.tag.good { color: var(--good); background: var(--good-bg); }
.tag.note { color: var(--note); background: var(--note-bg); }
.tag.warning { color: var(--warning); background: var(--warning-bg); }
.tag.bad { color: var(--bad); background: var(--bad-bg); }
.charts { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
figure svg text { font-family: inherit !important; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; padding: 6px 16px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .38rem .6rem; border-top: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
th { color: var(--ink-2); font-weight: 600; border-top: 0; vertical-align: bottom;
  white-space: normal; line-height: 1.25; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
.text { text-align: left; }
td.long { white-space: normal; min-width: 15rem; overflow-wrap: anywhere; text-align: left; }
td.foreign { white-space: normal; min-width: 5rem; max-width: 16rem; overflow-wrap: anywhere;
  text-align: left; }
td.wide { min-width: 110px; }
.bar { display: flex; height: 14px; min-width: 90px; border-radius: 4px; overflow: hidden;
  background: var(--note-bg); }
.bar i { display: block; height: 100%; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .5rem 0; font-size: .85rem;
  color: var(--ink-2); }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px;
  margin-right: .35em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 0;
  font-size: .9rem; }
dt { color: var(--ink-2); } dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
code, pre { font: .85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .4rem 0; padding: .6rem .8rem;
  background: var(--note-bg); border-radius: 6px; }
.stack > * + * { margin-top: 12px; }
@media (max-width: 560px) {
  main { padding: 14px 10px 32px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 8px; }
  .tile b { font-size: 1.35rem; }
  .card { padding: 12px; } .scroll { padding: 4px 12px; }
  dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --ink-2: #444;
    --line: #ccc; --good: #1a7f45; --note: #53606e; --warning: #b26a00; --bad: #c62f35;
    --good-bg: #e7f5ec; --note-bg: #edf0f3; --warning-bg: #fdf2dd; --bad-bg: #fdebec;
    --c0: #2f6fde; --c1: #e08a1e; --c2: #8fb8f5; --c3: #c2459b; --c4: #f5cd8f; --c5: #2b9c8f;
    --c6: #8257d6; --c7: #7d8794; }
  body { font-size: 11px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  .scroll { overflow: visible; } th, td { white-space: normal; }
  .card, figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  .charts { grid-template-columns: 1fr 1fr; }
}
"""
