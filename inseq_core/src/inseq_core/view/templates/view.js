"use strict";
(() => {
  const LEVELS = 12;
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const clip = (share) => Math.min(1, Math.max(0, share));
  const share = (score, start, end) => (end > start ? clip((score - start) / (end - start)) : 0);

  // The class of a score's colour, as the page's first table was made: "" for none.
  function shade(score, scale) {
    if (Number.isNaN(score)) return "";
    const [low, high, signed] = scale;
    if (!signed) {
      const level = Math.round(share(score, low, high) * LEVELS);
      return level ? "u" + level : "";
    }
    const strength = share(score, Math.max(low, 0), high) - share(-score, Math.max(-high, 0), -low);
    const level = Math.round(strength * LEVELS);
    return level ? (level > 0 ? "p" : "n") + Math.abs(level) : "";
  }

  function written(score, scale) {
    if (!Number.isFinite(score)) return Number.isNaN(score) ? "" : score > 0 ? "∞" : "-∞";
    const text = (score / 10 ** scale[5]).toFixed(scale[4]);
    return Number(text) === 0 ? text.replace("-", "") : text;
  }

  function exact(score, scale) {
    if (!Number.isFinite(score)) return written(score, scale);
    return scale[3] > 9 || scale[3] < 0 ? score.toPrecision(4) : score.toFixed(scale[3]);
  }

  function sequence(section, data, scales, tip) {
    const width = data.steps[1];
    const first = data.steps[0];
    const rows = data.rows.flatMap(([side, at]) => at.map((position) => ({ side, position })));
    const lines = [...section.querySelectorAll("tr.r")];
    const heads = [...section.querySelectorAll("thead th.c")];
    const measures = [...section.querySelectorAll("tfoot tr")];
    const sides = [".source", ".target"].map((name) => [...section.querySelectorAll(`.text${name} .k`)]);
    const readout = section.querySelector(".readout");
    const table = section.querySelector("table");
    if (!table) return;
    const rowAt = new Map(rows.map((row, i) => [`${row.side}:${row.position}`, i]));
    const decoded = new Map();
    let slice = data.first;
    let scale = scales[data.scale[slice]];
    let painted = [];
    let chosen = null;

    const scores = () => {
      if (!decoded.has(slice)) {
        const unit = 10 ** scale[3];
        decoded.set(slice, data.scores[slice].split(",").map((s) => (s === "" ? NaN : Number(s) / unit)));
      }
      return decoded.get(slice);
    };
    const score = (i, k) => scores()[i * width + k];
    const isAbsent = (i, k) => rows[i].side === 1 && rows[i].position >= first + k;
    const nameOf = (node, fallback) => (node ? node.textContent : fallback.textContent);
    const rowName = (i) => nameOf(sides[rows[i].side][rows[i].position], lines[i].cells[0]);
    const stepName = (k) => nameOf(sides[1][first + k], heads[k]);

    function paint(node, name) {
      if (!node || !name) return;
      node.classList.add(name);
      painted.push([node, name]);
    }

    function clear() {
      for (const [node, name] of painted) node.classList.remove(name);
      painted = [];
    }

    function tell(start, name, among, label) {
      readout.replaceChildren(make("span", "", start), make("b", "", name), make("span", "", label));
      const order = among.filter(([, s]) => !Number.isNaN(s)).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
      for (const [text, s] of order.slice(0, 5)) {
        readout.append(make("span", ("chip " + shade(s, scale)).trim(), `${text} ${written(s, scale)}`));
      }
      readout.hidden = false;
    }

    function select(next) {
      clear();
      chosen = next;
      readout.hidden = next === null;
      if (next === null) return;
      if (next.step !== undefined) {
        const k = next.step;
        rows.forEach((row, i) => paint(sides[row.side][row.position], shade(score(i, k), scale)));
        sides[1].forEach((node, position) => {
          if (position > first + k) paint(node, "later");
        });
        paint(sides[1][first + k], "now");
        paint(heads[k], "on");
        lines.forEach((line) => paint(line.cells[k + 1], "on"));
        const inputs = rows.map((row, i) => [rowName(i), score(i, k)]);
        tell(rows.length ? "Explained by the inputs before it: " : "", stepName(k), inputs, rows.length ? " ← " : "");
        for (const line of measures) {
          readout.append(make("em", "", `${line.cells[0].textContent} ${line.cells[k + 1].textContent}`));
        }
      } else {
        const i = next.row;
        for (let k = 0; k < width; k++) paint(sides[1][first + k], shade(score(i, k), scale));
        paint(sides[rows[i].side][rows[i].position], "now");
        paint(lines[i], "on");
        paint(lines[i].cells[0], "on");
        tell("Steps where it matters most: ", rowName(i), heads.map((head, k) => [stepName(k), score(i, k)]), " → ");
      }
    }

    function redraw() {
      lines.forEach((line, i) => {
        for (let k = 0; k < width; k++) {
          const cell = line.cells[k + 1];
          const missing = Number.isNaN(score(i, k)) && !isAbsent(i, k);
          cell.className = missing ? "m" : shade(score(i, k), scale);
          cell.textContent = missing ? "n/a" : written(score(i, k), scale);
        }
      });
      painted = painted.filter(([node]) => node.tagName !== "TD");
      select(chosen);
    }

    // The text: steps are buttons, one of them in the tab order; arrows move along.
    const buttons = sides[1].filter((node) => node.classList.contains("g"));
    buttons.forEach((button, k) => {
      button.tabIndex = k ? -1 : 0;
      button.setAttribute("aria-pressed", "false");
    });
    const press = (k) => {
      buttons.forEach((button, j) => {
        button.tabIndex = j === k ? 0 : -1;
        button.setAttribute("aria-pressed", String(j === k));
      });
      select({ step: k });
    };
    section.querySelector(".panels").addEventListener("click", (event) => {
      const node = event.target.closest(".k");
      if (!node) return;
      const k = buttons.indexOf(node);
      if (k >= 0) return press(k);
      const side = sides[0].includes(node) ? 0 : 1;
      const i = rowAt.get(`${side}:${sides[side].indexOf(node)}`);
      if (i !== undefined) select({ row: i });
    });
    section.querySelector(".panels").addEventListener("keydown", (event) => {
      const k = buttons.indexOf(event.target);
      const to = { ArrowRight: k + 1, ArrowLeft: k - 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (k < 0 || to === undefined || !buttons[to]) return;
      event.preventDefault();
      buttons[to].focus();
      press(to);
    });
    rows.forEach((row) => {
      const node = sides[row.side][row.position];
      if (node && !node.classList.contains("g")) node.classList.add("i");
    });

    // The table: a grid with one cell in the tab order.
    table.setAttribute("role", "grid");
    const grid = [[...heads], ...lines.map((line) => [...line.cells])];
    grid[0].unshift(null);
    const place = new Map();
    grid.forEach((cells, r) => cells.forEach((cell, c) => cell && place.set(cell, [r, c])));
    let entry = grid[1] ? grid[1][1] : heads[0];
    if (entry) entry.tabIndex = 0;
    let hot = [];
    function point(cell) {
      hot.forEach((node) => node.classList.remove("hot"));
      hot = [];
      const at = cell && place.get(cell);
      if (!at || !at[0] || !at[1]) return (tip.hidden = true);
      const [i, k] = [at[0] - 1, at[1] - 1];
      hot = [lines[i].cells[0], heads[k]];
      hot.forEach((node) => node.classList.add("hot"));
      const value = score(i, k);
      const what = !Number.isNaN(value)
        ? exact(value, scale)
        : isAbsent(i, k)
          ? "comes at or after this step"
          : "the method gave no score";
      tip.textContent = `${rowName(i)} → ${stepName(k)}: ${what}`;
      beside(cell);
    }
    function beside(node) {
      const box = node.getBoundingClientRect();
      tip.hidden = false;
      const { offsetWidth: w, offsetHeight: h } = tip;
      tip.style.left = `${Math.max(4, Math.min(box.left + box.width / 2 - w / 2, innerWidth - w - 4))}px`;
      tip.style.top = `${box.top > h + 8 ? box.top - h - 6 : box.bottom + 6}px`;
    }
    table.addEventListener("mouseover", (event) => point(event.target.closest("td")));
    table.addEventListener("mouseleave", () => point(null));
    table.addEventListener("focusin", (event) => point(event.target.closest("td")));
    table.addEventListener("focusout", () => point(null));
    const act = (cell) => {
      const at = place.get(cell);
      if (!at) return;
      if (at[1]) press(at[1] - 1);
      else if (at[0]) select({ row: at[0] - 1 });
    };
    table.addEventListener("click", (event) => act(event.target.closest("td,th")));
    table.addEventListener("keydown", (event) => {
      const at = place.get(event.target);
      if (!at) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        return act(event.target);
      }
      const [r, c] = at;
      const move = { ArrowUp: [r - 1, c], ArrowDown: [r + 1, c], ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1], Home: [r, 1], End: [r, width] }[event.key];
      const to = move && grid[move[0]] && grid[move[0]][move[1]];
      if (!move) return;
      event.preventDefault();
      if (!to) return;
      entry.tabIndex = -1;
      entry = to;
      entry.tabIndex = 0;
      entry.focus();
    });
    sides.flat().forEach((node) => {
      node.addEventListener("mouseenter", () => {
        if (!chosen) return;
        const side = sides[0].includes(node) ? 0 : 1;
        const position = sides[side].indexOf(node);
        const i = chosen.step !== undefined ? rowAt.get(`${side}:${position}`) : chosen.row;
        const k = chosen.step !== undefined ? chosen.step : side === 1 ? position - first : -1;
        if (i === undefined || k < 0 || k >= width || Number.isNaN(score(i, k))) return;
        tip.textContent = `${rowName(i)} → ${stepName(k)}: ${exact(score(i, k), scale)}`;
        beside(node);
      });
      node.addEventListener("mouseleave", () => (tip.hidden = true));
    });
    section.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        select(null);
        tip.hidden = true;
      }
    });

    // The axes: a slider each, and a box for all of its entries as one.
    const axes = [...section.querySelectorAll(".axis")].map((box) => ({
      box,
      slider: box.querySelector("input[type='range']"),
      all: box.querySelector("input[type='checkbox']"),
      output: box.querySelector("output"),
    }));
    function browse() {
      slice = axes.reduce((at, axis, a) => at * data.axes[a].length + (axis.all.checked ? data.axes[a].length - 1 : Number(axis.slider.value)), 0);
      scale = scales[data.scale[slice]];
      axes.forEach((axis, a) => {
        axis.box.classList.toggle("all", axis.all.checked);
        axis.output.textContent = data.axes[a][axis.all.checked ? data.axes[a].length - 1 : Number(axis.slider.value)];
      });
      legend();
      redraw();
    }
    function legend() {
      const [low, high, signed] = scale;
      const bar = section.querySelector(".bar");
      const factor = section.querySelector(".corner").textContent = scale[6];
      bar.querySelector(".low").textContent = written(low, scale);
      bar.querySelector(".high").textContent = `${written(high, scale)} ${factor}`.trim();
      const boxes = [];
      for (let level = signed ? -LEVELS : 0; level <= LEVELS; level++) {
        boxes.push(make("i", level ? (signed ? (level > 0 ? "p" : "n") : "u") + Math.abs(level) : ""));
      }
      bar.querySelector(".boxes").replaceChildren(...boxes);
    }
    axes.forEach((axis) => {
      axis.slider.addEventListener("input", () => {
        axis.all.checked = false;
        browse();
      });
      axis.all.addEventListener("change", browse);
      axis.box.classList.toggle("all", axis.all.checked);
    });
    const numbers = section.querySelector(".numbers");
    numbers.hidden = false;
    numbers.firstElementChild.addEventListener("change", (event) => table.classList.toggle("wide", !event.target.checked));
    if (width) press(data.open);
  }

  function start(root) {
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const sections = [...root.querySelectorAll(".seq")];
    const tip = root.querySelector(".tip");
    sections.forEach((section, i) => sequence(section, data.texts[i], data.scales, tip));
    const nav = root.querySelector(".nav");
    if (!nav) return;
    const list = nav.querySelector("select");
    const show = (i) => {
      list.selectedIndex = i;
      sections.forEach((section, j) => (section.hidden = i !== j));
      nav.querySelector(".prev").disabled = i === 0;
      nav.querySelector(".next").disabled = i === sections.length - 1;
    };
    list.addEventListener("change", () => show(list.selectedIndex));
    nav.querySelector(".prev").addEventListener("click", () => show(list.selectedIndex - 1));
    nav.querySelector(".next").addEventListener("click", () => show(list.selectedIndex + 1));
    nav.hidden = false;
    show(0);
  }

  for (const root of document.querySelectorAll(".inseq-view:not([data-ready])")) {
    root.setAttribute("data-ready", "");
    if (root.querySelector("script[type='application/json']")) start(root);
  }
})();
