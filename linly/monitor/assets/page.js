// Draws the charts in the page's colours, and hides a source in all of them by its legend button.
// The report contains its figures; the live page passes newer ones to `linly.show`.
"use strict";

const embedded = document.getElementById("charts");
let charts = embedded ? JSON.parse(embedded.textContent) : {};
const darkMode = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("screen and (max-width: 820px)");
const print = window.matchMedia("print");
const hidden = new Set();

function isPaper() {
  return document.documentElement.classList.contains("paper");
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

function themedTrace(trace) {
  const meta = trace.meta || {};
  const visible = !hidden.has(meta.source) && !(meta.boundary && hidden.size > 0);
  const themed = { ...trace, visible };
  if (meta.ink) {
    const ink = color(meta.ink === "strong" ? "ink" : "ink-faint");
    themed.line = { ...trace.line, color: ink };
    themed.marker = { ...trace.marker, color: ink };
    if (trace.marker && trace.marker.line) themed.marker.line = { ...trace.marker.line, color: ink };
  }
  return themed;
}

function themedAxis(axis) {
  const isSmall = narrow.matches || isPaper();
  const fontSize = isSmall ? 11 : 12;
  return {
    ...axis,
    nticks: isSmall ? 5 : axis.nticks,
    title: { ...axis.title, font: { size: fontSize, color: color("ink-soft") } },
    tickfont: { size: fontSize, color: color("ink-soft") },
    gridcolor: color("rule"),
    linecolor: color("rule"),
    spikecolor: color("ink-faint"),
    spikethickness: -2,
    fixedrange: narrow.matches,
  };
}

function themedLayout(layout) {
  return {
    ...layout,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, color: color("ink"), size: 12 },
    hoverlabel: {
      bgcolor: color("card"),
      bordercolor: color("rule"),
      font: { color: color("ink"), size: 12 },
      namelength: 40,
    },
    modebar: {
      bgcolor: "rgba(0,0,0,0)",
      color: color("ink-faint"),
      activecolor: color("ink"),
      orientation: "h",
    },
    legend: { ...layout.legend, font: { color: color("ink"), size: 12 } },
    xaxis: themedAxis(layout.xaxis),
    yaxis: themedAxis(layout.yaxis),
  };
}

const config = {
  responsive: true,
  displaylogo: false,
  showLink: false,
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
};

// A chart is drawn when it comes near the window, and redrawn there when it is stale. Charts are
// drawn one after the other, so that a long page opens at once and stays responsive.
const drawn = new Set();
const near = new Set();
const waiting = new Set();
let isDrawing = false;

function draw(element) {
  const figure = charts[element.id.slice("plot-".length)];
  if (!figure || !window.Plotly) return; // still loading: drawn when the page has loaded
  Plotly.react(element, figure.data.map(themedTrace), themedLayout(figure.layout), config);
  drawn.add(element);
  delete element.dataset.stale;
}

function drawNext() {
  const next = waiting.values().next().value;
  isDrawing = next !== undefined;
  if (!isDrawing) return;
  waiting.delete(next);
  if (next.isConnected) draw(next);
  setTimeout(drawNext, 0);
}

function drawStale() {
  for (const element of near) {
    if (element.dataset.stale) waiting.add(element);
  }
  if (!isDrawing) drawNext();
}

const nearWindow = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) near.add(entry.target);
      else near.delete(entry.target);
    }
    drawStale();
    document.documentElement.dataset.ready = "true";
  },
  { rootMargin: "600px" },
);

function plots() {
  return document.querySelectorAll(".plot");
}

function redraw() {
  plots().forEach((element) => (element.dataset.stale = "true"));
  drawStale();
}

function watchPlots() {
  plots().forEach((element) => {
    element.dataset.stale = "true";
    nearWindow.observe(element);
  });
}

function showPressed() {
  for (const button of document.querySelectorAll(".legend button")) {
    button.setAttribute("aria-pressed", String(!hidden.has(Number(button.dataset.source))));
  }
}

// Show newer figures; `isOtherPage` when the cards themselves were replaced.
function show(newCharts, isOtherPage) {
  charts = newCharts;
  if (isOtherPage) {
    nearWindow.disconnect();
    drawn.forEach((element) => Plotly.purge(element));
    drawn.clear();
    near.clear();
    watchPlots();
  } else {
    redraw();
  }
  showPressed();
}

function showAllSources() {
  hidden.clear();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".legend button");
  if (!button) return;
  const source = Number(button.dataset.source);
  if (!hidden.delete(source)) hidden.add(source);
  showPressed();
  redraw();
});
watchPlots();
darkMode.addEventListener("change", redraw);
narrow.addEventListener("change", redraw);
window.addEventListener("load", drawStale);

// Paper has its own sizes and light colours. Before it is printed, charts out of sight are drawn too,
// and closed parts are opened.
const opened = new Set();
function setPaper(isPrinting) {
  if (isPrinting === isPaper()) return;
  document.documentElement.classList.toggle("paper", isPrinting);
  if (isPrinting) {
    document.querySelectorAll("details:not([open])").forEach((element) => opened.add(element));
    plots().forEach(draw);
  } else {
    redraw();
  }
  opened.forEach((element) => (element.open = isPrinting));
  if (!isPrinting) opened.clear();
}
window.addEventListener("beforeprint", () => setPaper(true));
window.addEventListener("afterprint", () => setPaper(false));
print.addEventListener("change", (event) => setPaper(event.matches));
if (print.matches) setPaper(true);
window.linly = { show, showAllSources };
