"""The frame of the heatmap's HTML page; ``charrnn.evaluation.surprise.page`` fills what stands between %%."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%%TITLE%% - what surprised the model</title>
<style>
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: #fff; color: #222;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.2rem; margin: 0; }
p { margin: .3rem 0; }
#legend b { display: inline-block; padding: .1rem .6rem; font-weight: normal; }
#text { font: 15px/1.6 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
#text i { font-style: normal; }
#text i:hover, #text i.at { outline: 2px solid #000; }
#tip { position: fixed; display: none; background: #fff; border: 1px solid #666; padding: .4rem .6rem;
  box-shadow: 0 2px 8px #0004; font-size: 14px; pointer-events: none; z-index: 1; }
#tip table { border-collapse: collapse; }
#tip td { padding: 0 .6rem 0 0; font-family: ui-monospace, monospace; }
#tip td + td { text-align: right; }
#tip tr.hit { font-weight: bold; background: #d9f0d3; }
%%STYLE%%
</style>
</head>
<body>
<h1>%%TITLE%%</h1>
<p>%%FACTS%%</p>
<p id="legend">bits a character: %%LEGEND%%</p>
<p>Point at a character to see what the model expected there.</p>
<pre id="text">%%TEXT%%</pre>
<div id="tip" role="tooltip"></div>
<script>
"use strict";
const figures = %%DATA%%;
const cells = document.getElementById("text").querySelectorAll("i");
const tip = document.getElementById("tip");
cells.forEach((cell, index) => { cell.n = index; });
function show(cell) {
  const n = cell.n, table = document.createElement("table");
  const head = document.createElement("div");
  head.textContent = cell.textContent + "  " + figures.bits[n].toFixed(2) + " bits";
  figures.ids[n].forEach((id, rank) => {
    if (figures.top[n][0] === 0) return; // after the last character that was read
    const row = table.insertRow(), symbol = figures.symbols[id];
    row.insertCell().textContent = symbol;
    row.insertCell().textContent = figures.top[n][rank].toFixed(1) + " %";
    const read = {" ": "␣", "\\t": "⇥"}[cell.textContent] || cell.textContent;
    if (symbol === read) row.className = "hit";
  });
  tip.replaceChildren(head, table);
  tip.style.display = "block";
  const box = cell.getBoundingClientRect(), width = tip.offsetWidth, height = tip.offsetHeight;
  tip.style.left = Math.max(0, Math.min(box.left, innerWidth - width - 8)) + "px";
  tip.style.top = (box.bottom + height + 8 < innerHeight ? box.bottom + 4 : box.top - height - 4) + "px";
}
document.getElementById("text").addEventListener("mouseover", event => {
  if (event.target.tagName === "I") show(event.target); else tip.style.display = "none";
});
document.getElementById("text").addEventListener("mouseleave", () => { tip.style.display = "none"; });
function follow() {
  const cell = cells[Number(location.hash.slice(2))];
  if (!location.hash.startsWith("#c") || !cell) return;
  document.querySelectorAll("i.at").forEach(old => old.classList.remove("at"));
  cell.classList.add("at");
  cell.scrollIntoView({block: "center"});
  show(cell);
}
addEventListener("hashchange", follow);
follow();
</script>
</body>
</html>
"""
