"use strict";
(() => {
  const LEVELS = 12;
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  // A number keeps its sign on the left, and a token its own direction, whatever stands beside them.
  const number = (text) => Object.assign(make("span", "", text), { dir: "ltr" });
  const token = (text) => make("bdi", "", text);
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
    const isMissing = (i, k) => Number.isNaN(score(i, k)) && !isAbsent(i, k);
    const nameOf = (node, fallback) => (node ? node.textContent : fallback.textContent);
    const rowName = (i) => nameOf(sides[rows[i].side][rows[i].position], lines[i].cells[0]);
    const stepName = (k) => nameOf(sides[1][first + k], heads[k]);
    const counts = new Map();
    sides.flat().forEach(({ textContent: name }) => counts.set(name, (counts.get(name) || 0) + 1));
    const nodeAt = (side, position) => ({ node: sides[side][position], position });

    function paint(node, name) {
      if (!node || !name) return;
      node.classList.add(name);
      painted.push([node, name]);
    }

    function clear() {
      for (const [node, name] of painted) node.classList.remove(name);
      painted = [];
    }

    function flash(node) {
      node.scrollIntoView({ block: "nearest" });
      node.classList.add("flash");
      setTimeout(() => node.classList.remove("flash"), 1500);
    }

    // Tokens that the text has twice are told apart by their positions, and a click shows where they stand.
    function chip(name, { node, position }, s) {
      const button = make("button", ("chip " + shade(s, scale)).trim());
      button.type = "button";
      button.append(token(name));
      if (counts.get(name) > 1) button.append(make("sub", "", position));
      button.append(" ", number(written(s, scale)));
      if (node) button.addEventListener("click", () => flash(node));
      return button;
    }

    function tell(start, name, among, label) {
      readout.replaceChildren(start, make("b", "", name), label);
      const known = among.filter(([, , s]) => !Number.isNaN(s));
      const order = known.filter(([, , s]) => Number(written(s, scale)) !== 0);
      order.sort((a, b) => Math.abs(b[2]) - Math.abs(a[2]));
      for (const [text, at, s] of order.slice(0, 5)) readout.append(chip(text, at, s), " ");
      if (among.length && !order.length) readout.append(make("em", "", known.length ? "all scores are zero" : "no scores"), " ");
      readout.hidden = false;
    }

    function select(next) {
      clear();
      chosen = next;
      buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(next !== null && next.step === k)));
      readout.hidden = next === null;
      if (next === null) return;
      if (next.step !== undefined) {
        const k = next.step;
        rows.forEach((row, i) => paint(sides[row.side][row.position], isMissing(i, k) ? "m" : shade(score(i, k), scale)));
        sides[1].forEach((node, position) => {
          if (position > first + k) paint(node, "later");
        });
        paint(sides[1][first + k], "now");
        paint(heads[k], "on");
        lines.forEach((line) => paint(line.cells[k + 1], "on"));
        const inputs = rows.map((row, i) => [rowName(i), nodeAt(row.side, row.position), score(i, k)]);
        tell(rows.length ? "Explained by the inputs before it: " : "", stepName(k), inputs, rows.length ? " ← " : "");
        for (const line of measures) {
          const words = make("em", "", `${line.cells[0].firstChild.textContent} `);
          words.append(number(line.cells[k + 1].textContent));
          readout.append(words, " ");
        }
      } else {
        const i = next.row;
        for (let k = 0; k < width; k++) paint(sides[1][first + k], isMissing(i, k) ? "m" : shade(score(i, k), scale));
        paint(sides[rows[i].side][rows[i].position], "now");
        paint(lines[i], "on");
        paint(lines[i].cells[0], "on");
        const steps = heads.map((head, k) => [stepName(k), nodeAt(1, first + k), score(i, k)]);
        tell("Steps where it matters most: ", rowName(i), steps, " → ");
      }
    }

    function redraw() {
      lines.forEach((line, i) => {
        for (let k = 0; k < width; k++) {
          const cell = line.cells[k + 1];
          const missing = isMissing(i, k);
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
    });
    const press = (k) => {
      buttons.forEach((button, j) => (button.tabIndex = j === k ? 0 : -1));
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
      say(i, k);
      beside(cell);
    }
    function say(i, k) {
      const value = score(i, k);
      const why = isAbsent(i, k) ? "comes at or after this step" : "the method gave no score";
      const what = Number.isNaN(value) ? why : number(exact(value, scale));
      tip.replaceChildren(token(rowName(i)), " → ", token(stepName(k)), ": ", what);
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
        if (i === undefined || k < 0 || k >= width || isAbsent(i, k)) return;
        say(i, k);
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
      bar.hidden = !(high > low);
      const factor = section.querySelector(".corner").textContent = scale[6];
      bar.querySelector(".low").textContent = written(low, scale);
      bar.querySelector(".high").textContent = `${written(high, scale)} ${factor}`.trim();
      const ends = [".low", ".high"].map((end) => bar.querySelector(end).textContent);
      bar.setAttribute("aria-label", `Colours of scores from ${ends[0]} to ${ends[1]}`);
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
    const digits = section.querySelector(".numbers");
    digits.hidden = false;
    digits.firstElementChild.addEventListener("change", (event) => table.classList.toggle("wide", !event.target.checked));
    if (width) press(data.open);
  }

  // Nothing can be scrolled on paper: a wide table is printed in blocks of columns, each with the rows' names.
  function unfold(table) {
    const width = table.querySelectorAll("thead th.c").length;
    const most = table.classList.contains("wide") ? 56 : 24;
    if (!table.classList.contains("tall") || width <= most) return;
    for (let from = 0; from < width; from += most) {
      const to = Math.min(from + most, width);
      const block = table.cloneNode(false);
      block.classList.add("block");
      block.append(make("caption", "", `Steps ${from + 1} to ${to} of ${width}`));
      for (const part of [...table.children].slice(1)) {
        const copy = part.cloneNode(false);
        for (const row of part.rows) copy.append(between(row, from, to));
        block.append(copy);
      }
      table.before(block);
    }
    table.classList.add("unfolded");
  }

  // A row with its name and with what stands in some of the columns.
  function between(row, from, to) {
    const copy = row.cloneNode(false);
    let at = -1;
    for (const cell of row.cells) {
      const [start, end] = [Math.max(at, from), Math.min(at + cell.colSpan, to)];
      if (at < 0 || start < end) {
        const kept = cell.cloneNode(true);
        if (cell.colSpan > 1) kept.colSpan = at < 0 ? to - from + 1 : end - start;
        copy.append(kept);
      }
      at += cell.colSpan;
    }
    return copy;
  }

  function fold(root) {
    root.querySelectorAll(".block").forEach((block) => block.remove());
    root.querySelectorAll(".unfolded").forEach((table) => table.classList.remove("unfolded"));
  }

  function start(root) {
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const sections = [...root.querySelectorAll(".seq")];
    const tip = root.querySelector(".tip");
    sections.forEach((section, i) => sequence(section, data.texts[i], data.scales, tip));
    window.addEventListener("beforeprint", () => {
      fold(root);
      root.querySelectorAll("table").forEach(unfold);
    });
    window.addEventListener("afterprint", () => fold(root));
    const nav = root.querySelector(".nav");
    if (!nav) return;
    root.classList.add("paged");
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
