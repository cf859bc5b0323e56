// The live page: inserts newer parts and figures, and selects a step by a click on a chart.
"use strict";

const shownParts = {};
let shownKeys = "";
let shownRun = null;
let places = { steps: [], tokens: [] };

function setPart(name, markup) {
  const place = document.getElementById("part-" + name);
  if (shownParts[name] === markup) return;
  const open = [...place.querySelectorAll("details")].map((element) => element.open);
  place.innerHTML = markup;
  place.querySelectorAll("details").forEach((element, index) => {
    element.open = open[index] || false;
  });
  shownParts[name] = markup;
}

function setNotes(notes) {
  for (const [key, note] of Object.entries(notes)) {
    const plot = document.getElementById("plot-" + key);
    const words = plot.parentElement.querySelector(".note");
    if (words.textContent !== note) words.textContent = note;
  }
}

function stepAt(tokens) {
  let low = 0;
  let high = places.tokens.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places.tokens[middle] < tokens) low = middle + 1;
    else high = middle;
  }
  return places.steps[low];
}

// A click on a point of a chart selects its step; a drag still zooms.
let pressed = null;
document.addEventListener(
  "mousedown",
  (event) => {
    const plot = event.target.closest(".plot");
    const isInside = plot && event.target.closest(".draglayer");
    pressed = isInside ? { plot, x: event.clientX, y: event.clientY } : null;
  },
  true,
);
document.addEventListener(
  "mouseup",
  (event) => {
    if (!pressed || Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 3) return;
    const axis = pressed.plot._fullLayout.xaxis;
    if (!places.tokens.length || !axis.title.text.startsWith("tokens")) return;
    const left = pressed.plot.getBoundingClientRect().left + axis._offset;
    window.dash_clientside.set_props("step", { value: stepAt(axis.p2d(event.clientX - left)) });
  },
  true,
);

function show(content) {
  if (!content) return window.dash_clientside.no_update;
  const keys = JSON.stringify([content.run, content.keys]);
  const isOtherPage = keys !== shownKeys;
  if (content.run !== shownRun) window.linly.showAllSources();
  for (const place of document.querySelectorAll(".part")) {
    const name = place.id.slice("part-".length);
    if (name === "charts" && !isOtherPage) continue;
    setPart(name, content.parts[name] || "");
  }
  setNotes(content.notes);
  places = { steps: content.steps || [], tokens: content.tokens || [] };
  shownKeys = keys;
  shownRun = content.run;
  window.linly.show(content.charts, isOtherPage);
  return Date.now();
}

window.dash_clientside = Object.assign({}, window.dash_clientside, { live: { show } });
