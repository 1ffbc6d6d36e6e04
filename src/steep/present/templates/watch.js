"use strict";
// Keeps a served page up to date: asks which of its parts have changed, and replaces only those, so
// that what the reader opened, chose and focused stays. An exported page has no state to ask for.
(() => {
  const state = document.body.dataset.state;
  if (!state) return;
  const [every, rarely] = [2000, 10000]; // milliseconds
  const page = state.replace(/\.json$/, ".html");
  const line = document.getElementById("live"), light = line.parentElement;
  const main = document.getElementById("main");
  let timer = 0, since = null;

  const find = (name) => document.querySelector(`[data-part="${CSS.escape(name)}"]`);
  const focusable = (root) => [...root.querySelectorAll("a, button, select, summary, [tabindex]")];

  // What the reader did with a part, to be done again with its successor.
  function remembered(root) {
    const by = (nodes, key, value) => new Map([...nodes].map((node) => [key(node), value(node)]));
    return {
      chosen: by(root.querySelectorAll("[data-figure] select"), (n) => n.closest("[data-figure]").dataset.figure, (n) => n.value),
      off: new Set([...root.querySelectorAll("[data-figure] [aria-pressed=false]")].map((n) => `${n.closest("[data-figure]").dataset.figure}\n${n.dataset.entry}`)),
      open: new Set([...root.querySelectorAll("details[open] > summary")].map((n) => n.textContent)),
      scrolled: by(root.querySelectorAll(".scroll"), (n) => n.getAttribute("aria-label"), (n) => [n.scrollLeft, n.scrollTop]),
      focus: focusable(root).indexOf(document.activeElement),
    };
  }

  function restore(root, kept) {
    for (const summary of root.querySelectorAll("details > summary")) {
      summary.parentElement.open = kept.open.has(summary.textContent);
    }
    for (const box of root.querySelectorAll("[data-figure]")) {
      const name = box.dataset.figure, select = box.querySelector("select");
      const value = kept.chosen.get(name);
      if (select && [...select.options].some((option) => option.value === value)) select.value = value;
      for (const button of box.querySelectorAll("[data-entry]")) {
        if (kept.off.has(`${name}\n${button.dataset.entry}`)) button.setAttribute("aria-pressed", "false");
      }
      window.steep.redraw(box);
    }
    for (const box of root.querySelectorAll(".scroll")) {
      const place = kept.scrolled.get(box.getAttribute("aria-label"));
      if (place) [box.scrollLeft, box.scrollTop] = place;
    }
    if (kept.focus >= 0) focusable(root)[kept.focus]?.focus({ preventScroll: true });
  }

  async function ask(address) {
    const answer = await fetch(address, { cache: "no-store", credentials: "same-origin" });
    if (!answer.ok) throw new Error(answer.status);
    return answer;
  }

  async function replace(name, digest, before) {
    const answer = await ask(`${page}?part=${encodeURIComponent(name)}`);
    if (answer.status === 204) return; // gone since; the next look says so
    const html = await answer.text();
    let part = find(name);
    if (!part) {
      part = document.createElement("div");
      part.dataset.part = name;
      before ? before.after(part) : main.prepend(part);
    }
    const kept = remembered(part);
    part.innerHTML = html;
    part.dataset.digest = digest;
    window.steep.enliven(part);
    restore(part, kept);
  }

  async function look() {
    clearTimeout(timer);
    let wait = rarely;
    try {
      const now = await (await ask(state)).json();
      let before = null;
      for (const [name, digest] of now.parts) {
        if (find(name)?.dataset.digest !== digest) await replace(name, digest, before);
        if (name !== "top") before = find(name);
      }
      const names = new Set(now.parts.map(([name]) => name));
      for (const part of document.querySelectorAll("[data-part]")) {
        if (!names.has(part.dataset.part)) part.remove();
      }
      if (line.textContent !== now.status) line.textContent = now.status;
      document.title = now.title;
      steps(now.steps);
      light.dataset.live = "on";
      since = null;
      wait = now.final ? rarely : every;
    } catch {
      since ??= new Date();
      light.dataset.live = "off";
      const text = `Not live since ${since.toLocaleTimeString()}: steep watch does not answer`;
      if (line.textContent !== text) line.textContent = text;
    }
    if (!document.hidden) timer = setTimeout(look, wait);
  }

  // The links to the sections, where those have changed.
  function steps(wanted) {
    const nav = document.querySelector("[data-steps]");
    const known = [...nav.children].map((link) => [link.getAttribute("href").slice(1), link.textContent]);
    if (JSON.stringify(known) === JSON.stringify(wanted)) return;
    nav.replaceChildren(...wanted.map(([anchor, title]) => {
      const link = document.createElement("a");
      link.href = `#${anchor}`;
      link.textContent = title;
      return link;
    }));
  }

  document.addEventListener("visibilitychange", () => document.hidden || look());
  timer = setTimeout(look, every);
})();
