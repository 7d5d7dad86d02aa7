/** How the page looks: in light and dark, for a wide screen and a phone. */
export const style = `
:root {
  color-scheme: light dark;
  --back: #f6f7f9; --card: #ffffff; --text: #1c2330; --soft: #5b6475; --line: #d6dae2; --edge: #98a1b2;
  --accent: #1f5fd0; --on-accent: #ffffff; --focus: #1f5fd0;
  --good: #17703a; --bad: #b4151f; --bad-back: #fdecec; --warn: #8a5200; --warn-back: #fff4df;
  --chart: #1f5fd0; --chart-fill: #1f5fd022;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #12151b; --card: #1b2029; --text: #e7eaf0; --soft: #a2abbb; --line: #343c4a; --edge: #667186;
    --accent: #7fb0ff; --on-accent: #0d1420; --focus: #9cc2ff;
    --good: #6fd596; --bad: #ff8a8a; --bad-back: #3a1c20; --warn: #f2bd63; --warn-back: #362a14;
    --chart: #7fb0ff; --chart-fill: #7fb0ff2e;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1, h2, h3, p, ul, dl, dd { margin: 0; padding: 0; }
h1 { font-size: 18px; font-weight: 650; }
h2 { font-size: 13px; font-weight: 650; color: var(--soft); text-transform: uppercase; letter-spacing: 0.04em; margin-bottom: 8px; }
h3 { font-size: 14px; font-weight: 650; margin: 20px 0 8px; }
[hidden] { display: none !important; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.skip { position: absolute; left: -999px; top: 0; background: var(--card); padding: 8px 12px; z-index: 3; }
.skip:focus { left: 8px; top: 8px; }
header { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; padding: 14px 20px; background: var(--card); border-bottom: 1px solid var(--line); position: sticky; top: 0; z-index: 1; }
#summary { font-weight: 600; }
#summary.bad { color: var(--bad); } #summary.warn { color: var(--warn); } #summary.good { color: var(--good); }
#connection { margin-left: auto; color: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
#connection.lost { color: var(--bad); font-weight: 600; }
.notice { max-width: 560px; width: calc(100% - 24px); margin: 40px auto; padding: 20px; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
#token { display: flex; flex-wrap: wrap; gap: 12px; align-items: end; }
#token p { flex-basis: 100%; }
#token label { flex: 1; }
main { display: grid; grid-template-columns: minmax(0, 1fr); gap: 20px; padding: 20px; }
main.open { grid-template-columns: minmax(0, 1fr) 400px; align-items: start; }
#overview { display: grid; grid-template-columns: minmax(0, 1fr); gap: 20px; min-width: 0; }
#trouble-list { list-style: none; display: grid; gap: 6px; }
#trouble-list button { display: block; width: 100%; text-align: left; padding: 8px 12px; border-radius: 8px; border: 1px solid; font: inherit; color: var(--text); overflow-wrap: anywhere; }
#trouble-list .bad button { border-color: var(--bad); background: var(--bad-back); }
#trouble-list .warn button { border-color: var(--warn); background: var(--warn-back); }
#trouble-list .name { font-weight: 650; }
#trouble-list .bad .name { color: var(--bad); } #trouble-list .warn .name { color: var(--warn); }
#trouble-list .none { color: var(--soft); }
#find { width: 220px; }
.bar { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; justify-content: space-between; margin-bottom: 8px; }
.bar h2 { margin: 0; }
#legend { color: var(--soft); font-size: 12px; display: flex; gap: 14px; }
#legend span::before { content: ""; display: inline-block; width: 22px; vertical-align: middle; margin-right: 6px; border-top: 2px solid var(--edge); }
#legend .dashed::before { border-top-style: dashed; }
.node.found .name { text-decoration: underline; }
#graph { overflow: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px; max-height: calc(100vh - 120px); }
#graph svg { display: block; margin: 0 auto; }
svg text { fill: var(--text); font-family: inherit; }
.edge { fill: none; stroke: var(--edge); stroke-width: 1.5; }
.edge.later { stroke-dasharray: 5 4; }
.edge.bad { stroke: var(--bad); stroke-width: 2; }
.node { cursor: pointer; outline: none; }
.node .box { fill: var(--back); stroke: var(--line); stroke-width: 1.25; }
.node:hover .box { stroke: var(--soft); }
.node:focus-visible .box { stroke: var(--focus); stroke-width: 3; }
.node.selected .box { stroke: var(--accent); stroke-width: 2.5; }
.node .mark { fill: none; }
.node.warn .mark { fill: var(--warn); } .node.bad .mark { fill: var(--bad); }
.node.warn .box { stroke: var(--warn); fill: var(--warn-back); } .node.bad .box { stroke: var(--bad); stroke-width: 2; fill: var(--bad-back); }
.node.selected.bad .box, .node.selected.warn .box { stroke-width: 3.5; }
.node.bad:focus-visible .box, .node.warn:focus-visible .box { stroke: var(--focus); }
.node .kind { font-size: 11px; fill: var(--soft); }
.node .name { font-size: 14px; font-weight: 650; }
.node .figures { font-size: 12.5px; font-variant-numeric: tabular-nums; }
.node .flags { font-size: 11.5px; font-weight: 650; fill: var(--soft); }
.node.bad .flags { fill: var(--bad); } .node.warn .flags { fill: var(--warn); }
.spark { fill: none; stroke: var(--chart); stroke-width: 1.25; }
.area { fill: var(--chart-fill); stroke: none; }
#panel { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px; position: sticky; top: 68px; max-height: calc(100vh - 88px); overflow: auto; overflow-wrap: anywhere; }
#panel .top { display: flex; gap: 12px; align-items: start; justify-content: space-between; }
#panel-name { font-size: 17px; text-transform: none; letter-spacing: 0; color: var(--text); margin: 0; }
#panel .kind { color: var(--soft); font-size: 13px; }
.why { margin: 12px 0 0; padding: 8px 12px; border-radius: 8px; border-left: 4px solid; }
.why.bad { background: var(--bad-back); border-color: var(--bad); } .why.warn { background: var(--warn-back); border-color: var(--warn); }
.why.good { border-color: var(--good); background: var(--back); }
.figures-list { display: grid; grid-template-columns: repeat(3, 1fr); gap: 10px 12px; margin-top: 14px; }
.figures-list dt { color: var(--soft); font-size: 12px; }
.figures-list dd { font-weight: 600; font-variant-numeric: tabular-nums; }
.chart { margin-top: 10px; }
.chart svg { display: block; width: 100%; height: 64px; background: var(--back); border-radius: 6px; }
.chart p { display: flex; justify-content: space-between; color: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.quiet { color: var(--soft); font-size: 13px; }
.error-text { margin-top: 12px; font-size: 13px; white-space: pre-wrap; }
button, select, input { font: inherit; color: inherit; }
button, .tall { min-height: 34px; }
button { padding: 5px 12px; border-radius: 7px; border: 1px solid var(--line); background: var(--card); cursor: pointer; }
button:hover:not(:disabled) { border-color: var(--soft); }
button:disabled { opacity: 0.55; cursor: default; }
button.primary { background: var(--accent); color: var(--on-accent); border-color: var(--accent); }
button.danger { color: var(--bad); border-color: var(--bad); }
button.link { border: 0; padding: 2px 4px; background: none; color: var(--accent); text-decoration: underline; min-height: 28px; }
input, select { width: 100%; min-height: 34px; padding: 4px 8px; border-radius: 7px; border: 1px solid var(--edge); background: var(--back); }
label { font-size: 12px; color: var(--soft); display: block; }
label input, label select { color: var(--text); font-size: 15px; margin-top: 2px; }
.actions { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 10px; }
.actions:empty { display: none; }
.actions input { flex: 1 1 130px; width: auto; min-width: 0; }
.actions + .quiet { margin-top: 8px; }
.filter { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
.filter .wide { grid-column: 1 / -1; }
.entries { list-style: none; margin-top: 10px; display: grid; gap: 8px; }
.entries li { border: 1px solid var(--line); border-radius: 8px; padding: 8px 10px; font-size: 13px; }
.entries .head { display: flex; flex-wrap: wrap; gap: 2px 10px; justify-content: space-between; }
.entries .reason { font-weight: 650; }
.entries .cause { white-space: pre-wrap; margin-top: 4px; max-height: 9em; overflow: auto; }
.entries pre { margin: 6px 0 0; padding: 8px; background: var(--back); border-radius: 6px; max-height: 220px; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; }
.log { list-style: none; margin-top: 8px; max-height: 226px; overflow: auto; border: 1px solid var(--line); border-radius: 8px; font-size: 13px; }
.log li { display: grid; grid-template-columns: 9.4em minmax(0, 1fr) auto; gap: 0 10px; padding: 5px 10px; font-variant-numeric: tabular-nums; }
.log li + li { border-top: 1px solid var(--line); }
.log .what { font-weight: 600; }
.tapped .what { white-space: nowrap; }
.log .bad .what { color: var(--bad); }
.log time { color: var(--soft); }
.log .wide, .log pre { grid-column: 1 / -1; }
.log pre { margin: 2px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 8em; overflow: auto; font-size: 12px; }
.actions.tap { margin: 0 0 8px; }
.actions select { width: auto; }
progress { width: 100%; height: 10px; accent-color: var(--accent); }
.job { margin-top: 10px; font-size: 13px; font-variant-numeric: tabular-nums; }
.jobs + .quiet { margin-top: 8px; }
.job.running { display: grid; gap: 6px; justify-items: start; }
.failed { color: var(--bad); }
dialog { border: 1px solid var(--line); border-radius: 10px; background: var(--card); color: var(--text); max-width: 420px; padding: 20px; }
dialog::backdrop { background: #0008; }
dialog .actions { justify-content: end; margin-top: 16px; }
@media (max-width: 900px) {
  header { padding: 10px 14px; }
  main, main.open { grid-template-columns: minmax(0, 1fr); padding: 12px; gap: 14px; }
  #connection { margin-left: 0; flex-basis: 100%; }
  #graph { padding: 8px; max-height: none; }
  #panel { position: fixed; inset: 0; z-index: 2; border-radius: 0; border: 0; max-height: none; padding-bottom: 40px; }
  body.open { overflow: hidden; }
  button, input, select { min-height: 40px; }
}
@media (prefers-reduced-motion: no-preference) { .node .box { transition: fill 0.2s, stroke 0.2s; } }
`
