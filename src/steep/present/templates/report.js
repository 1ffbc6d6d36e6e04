"use strict";
(() => {
  const { figures, dark } = JSON.parse(document.getElementById("figures").textContent);
  const atNight = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const config = { displayModeBar: false, doubleClick: "reset", responsive: true };
  let printing = false;

  // The figures come in light colours; on dark paper each is swapped for its counterpart.
  function inColour(figure) {
    const text = JSON.stringify(figure);
    if (!atNight.matches || printing) return JSON.parse(text);
    return JSON.parse(text.replace(/#[0-9a-f]{6}/g, (hex) => dark[hex] || hex));
  }

  function fitted(layout, width) {
    if (printing) layout.height = 300; // as the style sheet says for paper
    layout.dragmode = touch ? false : "zoom";
    if (width < 520) {
      layout.margin = { l: 50, r: 8, t: 10, b: 44 };
      layout.font.size = 11;
      for (const note of layout.annotations) note.font.size = 10;
    }
    return layout;
  }

  // The ticks given are for the whole figure; inside a zoom plotly makes its own.
  function followZoom(plot, original) {
    plot.on("plotly_relayout", () => {
      const change = {};
      for (const axis of ["xaxis", "yaxis"]) {
        const whole = original.layout[axis].range;
        const now = plot.layout[axis].range;
        const same = now.every((end, i) => Math.abs(end - whole[i]) < 1e-6);
        const mode = same ? "array" : "auto";
        if (plot.layout[axis].tickmode !== mode) change[`${axis}.tickmode`] = mode;
      }
      if (Object.keys(change).length) Plotly.relayout(plot, change);
    });
  }

  function visible(box, trace) {
    const off = [...box.querySelectorAll(".legend [aria-pressed=false]")].map((b) => b.dataset.entry);
    const panel = box.querySelector("select");
    return !off.includes(trace.meta.legend)
      && (!panel || trace.meta.panel === "" || trace.meta.panel === panel.value);
  }

  function draw(box) {
    const plot = box.querySelector(".plot");
    const original = figures[box.dataset.figure];
    const figure = inColour(original);
    for (const trace of figure.data) trace.visible = visible(box, trace);
    const first = !plot.data;
    Plotly.react(plot, figure.data, fitted(figure.layout, plot.clientWidth), config);
    if (first) followZoom(plot, original);
  }

  const boxes = [...document.querySelectorAll("[data-figure]")];
  const shown = (box) => !box.closest("details") || box.closest("details").open;
  const drawAll = () => boxes.filter(shown).forEach(draw);
  for (const box of boxes) {
    box.querySelectorAll(".legend button").forEach((button) => button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "false");
      draw(box);
    }));
    box.querySelector("select")?.addEventListener("change", () => draw(box));
    box.closest("details")?.addEventListener("toggle", () => shown(box) && draw(box));
  }
  atNight.addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => { printing = true; drawAll(); });
  window.addEventListener("afterprint", () => { printing = false; drawAll(); });
  drawAll();
})();
