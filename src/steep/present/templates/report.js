"use strict";
// Hovering and switching for figures that are complete without it. The places of the points come
// as shares of the axes, so that they hold on every size of paper.
(() => {
  const figures = {};
  const near = window.matchMedia("(pointer: coarse)").matches ? 34 : 22; // pixels
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  let ring = null;

  function hide() {
    tip.hidden = true;
    ring?.remove();
    ring = null;
  }

  function visible(box, item) {
    const panel = box.querySelector("select")?.value;
    const off = [...box.querySelectorAll(".legend [aria-pressed=false]")].map((b) => b.dataset.entry);
    return !off.includes(item.legend) && (panel === undefined || ["", panel].includes(item.panel));
  }

  function redraw(box) {
    hide();
    box.querySelectorAll("g[data-legend]").forEach((group) => {
      group.style.display = visible(box, group.dataset) ? "" : "none";
    });
  }

  // The point nearest to the pointer; of several at one place the one drawn last, on top.
  function nearest(box, svg, event) {
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    const [left, top, right, bottom] = svg.dataset.area.split(" ").map(Number);
    const at = svg.getBoundingClientRect();
    const x = (event.clientX - at.left) / scale, y = (event.clientY - at.top) / scale;
    let best = null, least = near / scale;
    for (const item of figures[box.dataset.figure].filter((i) => visible(box, i))) {
      for (let i = 0; i < item.x.length; i++) {
        const px = left + item.x[i] * (right - left), py = bottom - item.y[i] * (bottom - top);
        const distance = Math.hypot(px - x, py - y);
        if (distance <= least) [least, best] = [distance, { px, py, text: item.start + item.rest[i] }];
      }
    }
    return best && { ...best, left: at.left + best.px * scale, top: at.top + best.py * scale };
  }

  function point(box, svg, event) {
    const found = nearest(box, svg, event);
    hide();
    if (!found) return;
    ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [name, value] of Object.entries({ cx: found.px, cy: found.py, r: 8, class: "ring" })) {
      ring.setAttribute(name, value);
    }
    svg.append(ring);
    tip.textContent = found.text;
    tip.hidden = false;
    const width = document.documentElement.clientWidth;
    const left = Math.min(found.left + 14, width - tip.offsetWidth - 6);
    const above = found.top - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(left, 6) + window.scrollX}px`;
    tip.style.top = `${(above > 0 ? above : found.top + 14) + window.scrollY}px`;
  }

  // Of the whole page, or of a part of it that is new.
  function enliven(root) {
    hide();
    for (const data of root.querySelectorAll("script[type='application/json']")) {
      Object.assign(figures, JSON.parse(data.textContent));
    }
    for (const box of root.querySelectorAll("[data-figure]")) {
      box.querySelectorAll(".legend button").forEach((button) => button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "false");
        redraw(box);
      }));
      box.querySelector("select")?.addEventListener("change", () => redraw(box));
      box.querySelectorAll("svg.plot").forEach((svg) => {
        svg.addEventListener("pointermove", (event) => point(box, svg, event));
        svg.addEventListener("pointerdown", (event) => point(box, svg, event));
        svg.addEventListener("pointerleave", hide);
      });
    }
  }
  enliven(document);
  window.steep = { enliven, redraw };
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
})();
