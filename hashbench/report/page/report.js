"use strict";
// Everything that is data is set as textContent or as an attribute, never parsed as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const BEST = 7;
const FEW = 20;
const DASHES = ["", "6 3", "8 3 2 3", "2 3"];
const COLOURS = 7;
const WAYS = { ascending: 1, descending: -1 };
const MARKERS = [
  "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0",
  "M-3.2 -3.2h6.4v6.4h-6.4z",
  "M0 -4l4 7h-8z",
  "M0 -4.2l4.2 4.2l-4.2 4.2l-4.2 -4.2z",
  "M0 4l4 -7h-8z",
  "M-1.4 -4h2.8v2.6h2.6v2.8h-2.6v2.6h-2.8v-2.6h-2.6v-2.8h2.6z",
  "M-4 -2.2l1.8 -1.8l2.2 2.2l2.2 -2.2l1.8 1.8l-2.2 2.2l2.2 2.2l-1.8 1.8l-2.2 -2.2l-2.2 2.2l-1.8 -1.8l2.2 -2.2z",
  "M0 -4.5l1.2 3.2h3.3l-2.6 2.1l1 3.4l-2.9 -2l-2.9 2l1 -3.4l-2.6 -2.1h3.3z",
  "M-4 0l7 -4v8z",
  "M4 0l-7 -4v8z",
];

// ---------------------------------------------------------------- words and elements

const decimals = (value, digits = 4) => value.toFixed(digits).replace(/^(-?)0\./, "$1.");
const signed = (value) => (value > 0 ? "+" : "") + decimals(value);
const arrow = (task) => task.replace("->", " → ");

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// ---------------------------------------------------------------- state: every named control that is not as it came

const controls = [...document.querySelectorAll("[name]")].filter((control) => control.name);
let usual = new Map();

function writeState() {
  const state = new URLSearchParams();
  for (const control of controls) if (control.value !== usual.get(control)) state.set(control.name, control.value);
  const address = location.href.split("#")[0];
  history.replaceState(null, "", String(state) ? `${address}#${state}` : address);
}

function readState() {
  const fragment = location.hash.slice(1);
  if (fragment && !fragment.includes("=")) return; // a link to a section
  const state = new URLSearchParams(fragment);
  for (const control of controls) {
    control.value = state.get(control.name) ?? usual.get(control);
    if (control.value === "") control.value = usual.get(control); // no such choice
  }
}

function changed(control, value) {
  control.value = value;
  control.dispatchEvent(new Event("input", { bubbles: true }));
}

// ---------------------------------------------------------------- one protocol

function section(model) {
  const root = document.getElementById(model.id);
  const control = (name) => root.querySelector(`[name="${model.id}.${name}"]`);
  const byPlace = model.arms.map((_, arm) => arm).sort((a, b) => model.arms[a].place - model.arms[b].place);
  for (const [name, first] of [
    ["a", 0],
    ["b", 1],
  ])
    choices(control(name), model, model.lead, first);
  const answered = model.lead.filter((arm) => root.querySelector(`.answer[data-arm="${arm}"]`));
  for (const [name, first] of [
    ["one", 0],
    ["other", 1],
  ])
    choices(control(name), model, answered, first);

  const table = mainTable(root, model, control);
  const legend = legendOf(root, model, control, byPlace);
  const place = (name) => root.querySelector(`[data-chart="${name}"]`);
  return () => {
    const arms = table();
    const bits = model.lengths[control("bits").value];
    root.querySelector(".slider output").textContent = `${bits} bits`;
    const shown = legend(arms);
    const points = model.points.filter((point) => point.bits === bits && shown.includes(point.arm));
    place("pr").replaceChildren(
      ...model.tasks.map((_, task) => precisionRecall(model, task, points, control("curve").value)),
    );
    place("pn").replaceChildren(...model.tasks.map((_, task) => precisionAt(model, task, points)));
    place("map").replaceChildren(...model.tasks.map((_, task) => scores(model, task, points, shown, bits)));
    place("lengths").replaceChildren(...byLength(model, shown, bits));
    place("cost").replaceChildren(...cost(model, shown, bits));
    if (control("a")) classes(root, model, control, bits);
    examples(root, control);
  };
}

function choices(select, model, arms, first) {
  if (!select) return;
  const names = arms.map((arm) => element("option", { value: arm }, model.arms[arm].name));
  select.replaceChildren(...names);
  select.value = arms[Math.min(first, arms.length - 1)] ?? "";
}

// ---------------------------------------------------------------- main table

function mainTable(root, model, control) {
  const table = root.querySelector("table.main");
  const groups = [...table.querySelectorAll("tbody[data-group]")];
  const sorted = table.querySelector("tbody.sorted");
  const rows = [...table.querySelectorAll("tr[data-arm]")];
  const home = new Map(rows.map((row) => [row, row.parentElement]));
  const heads = [...table.querySelectorAll("[data-sort]")];
  const words = new Map(
    rows.map((row) => {
      const group = row.parentElement.querySelector(".group");
      const said = [...row.querySelectorAll("th, .word")].map((cell) => cell.textContent);
      return [row, [...said, group ? group.textContent : ""].join(" ").toLowerCase()];
    }),
  );

  for (const head of heads) {
    const button = element("button", { type: "button" }, head.textContent);
    if (head.dataset.name) button.setAttribute("aria-label", head.dataset.name);
    button.addEventListener("click", () => changed(control("sort"), next(head.dataset.sort, control("sort").value)));
    head.replaceChildren(button);
  }
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copyTable(root, model, button.dataset.copy));
  }

  return () => {
    table.dataset.seeds = control("seeds").value;
    const wanted = control("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = control("kind").value;
    for (const row of rows) {
      const fits = kind === "" || home.get(row).dataset.group === kind;
      row.hidden = !(fits && wanted.every((word) => words.get(row).includes(word)));
    }
    const [wish, order] = control("sort").value.split(".");
    const column = order in WAYS && heads.some((head) => head.dataset.sort === wish) ? wish : "";
    for (const head of heads) {
      if (head.dataset.sort === column) head.setAttribute("aria-sort", order);
      else head.removeAttribute("aria-sort");
    }
    if (column) sorted.append(...inOrder(rows, column, order));
    else for (const row of rows) home.get(row).append(row);
    sorted.hidden = !column;
    for (const group of groups)
      group.hidden = Boolean(column) || ![...group.querySelectorAll("[data-arm]")].some((row) => !row.hidden);
    return rows.filter((row) => !row.hidden).map((row) => Number(row.dataset.arm));
  };
}

function next(column, current) {
  const orders = column.startsWith("w") ? ["ascending", "descending"] : ["descending", "ascending"];
  const [now, order] = current.split(".");
  if (now !== column) return `${column}.${orders[0]}`;
  return order === orders[0] ? `${column}.${orders[1]}` : "";
}

function inOrder(rows, column, order) {
  const at = Number(column.slice(1));
  const way = WAYS[order];
  if (column.startsWith("w")) {
    const word = (row) => row.querySelectorAll("th, .word")[at].textContent;
    return [...rows].sort((a, b) => way * word(a).localeCompare(word(b), "en", { numeric: true }));
  }
  const number = (row) => {
    const value = row.querySelectorAll("td:not(.word)")[at].dataset.value;
    return value === undefined ? NaN : Number(value);
  };
  return [...rows].sort((a, b) => {
    // what is missing stands last in either order
    const [x, y] = [number(a), number(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return way * (x - y);
  });
}

async function copyTable(root, model, format) {
  const copy = model.copies[format];
  const shown = [...root.querySelectorAll("table.main tbody:not([hidden]) tr[data-arm]:not([hidden])")];
  const lines = [...copy.head, ...shown.flatMap((row) => copy.rows[row.dataset.arm]), ...copy.tail];
  const done = await toClipboard(lines.join("\n") + "\n");
  root.querySelector(".said").textContent = done
    ? `${format} of ${shown.length} rows copied`
    : "the browser does not let a page copy";
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", { "aria-hidden": "true" }); // without the right to the clipboard
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

// ---------------------------------------------------------------- legend

function legendOf(root, model, control, byPlace) {
  const names = root.querySelector(".names");
  const best = model.lead.slice(0, BEST);
  let listed = [];
  const chosen = () => {
    const text = control("shown").value;
    if (text === "") return best;
    return text
      .split(",")
      .filter((arm) => arm !== "none")
      .map(Number)
      .filter((arm) => arm in model.arms);
  };
  const choose = (arms) => {
    const same = arms.length === best.length && arms.every((arm) => best.includes(arm));
    changed(control("shown"), same ? "" : arms.join(",") || "none");
  };
  const ways = {
    best: () => model.lead.filter((arm) => listed.includes(arm)).slice(0, BEST),
    all: () => listed,
    none: () => [],
  };
  for (const button of root.querySelectorAll("[data-show]"))
    button.addEventListener("click", () => choose(ways[button.dataset.show]()));

  const buttons = new Map(
    byPlace.map((arm) => {
      const look = lookOf(model.arms[arm].place);
      const swatch = drawn(
        "svg",
        { viewBox: "0 0 30 12", "aria-hidden": "true", class: look.colour },
        drawn("line", { x1: 0, x2: 30, y1: 6, y2: 6, class: "curve", "stroke-dasharray": look.dash }),
        drawn("path", { d: look.marker, transform: "translate(15 6)", class: "marker" }),
      );
      const button = element("button", { type: "button" }, swatch, element("bdi", {}, model.arms[arm].name));
      button.addEventListener("click", () => {
        const now = chosen();
        choose(now.includes(arm) ? now.filter((other) => other !== arm) : [...now, arm]);
      });
      return [arm, button];
    }),
  );
  names.append(...buttons.values());

  return (arms) => {
    listed = byPlace.filter((arm) => arms.includes(arm));
    const shown = chosen().filter((arm) => arms.includes(arm));
    for (const [arm, button] of buttons) {
      button.hidden = !arms.includes(arm);
      button.setAttribute("aria-pressed", shown.includes(arm));
    }
    return byPlace.filter((arm) => shown.includes(arm));
  };
}

const lookOf = (place) => ({
  colour: `c${place % COLOURS}`,
  dash: DASHES[Math.floor(place / COLOURS) % DASHES.length] || "none",
  marker: MARKERS[place % MARKERS.length],
});

// ---------------------------------------------------------------- what the charts show

const named = (model, point) => `${model.arms[point.arm].name}, ${point.bits} bits`;
const behind = (point) => point.keys.map((key, at) => `seed ${point.seeds[at]}: ${key}`).join(", ");

function precisionRecall(model, task, points, kind) {
  const [precision, recall] =
    kind === "rank" ? ["rank/precision", "rank/recall"] : [`radius/${kind}_precision`, `radius/${kind}_recall`];
  const lines = points
    .filter((point) => point.task === task && point.curves[precision] && point.curves[recall])
    .map((point) => ({
      arm: point.arm,
      points: point.curves[recall]
        .map((x, at) => ({
          x,
          y: point.curves[precision][at],
          said: `${named(model, point)}: precision ${decimals(point.curves[precision][at])}, recall ${decimals(x)} ${
            kind === "rank" ? `at rank ${model.ranks[task][at]}` : `within radius ${at}`
          }; ${behind(point)}`,
        }))
        .filter((each) => each.y > 0 || each.x > 0), // an empty ball has neither
    }));
  return chart({
    title: `Precision against recall, ${arrow(model.tasks[task])}`,
    model,
    lines,
    x: { name: "recall", low: 0, high: 1 },
    y: { name: "precision", low: 0, high: 1 },
    level: chanceOf(model, task),
  });
}

function precisionAt(model, task, points) {
  const ranks = model.ranks[task];
  const lines = points
    .filter((point) => point.task === task && point.curves["rank/precision"])
    .map((point) => ({
      arm: point.arm,
      points: point.curves["rank/precision"].map((y, at) => ({
        x: ranks[at],
        y,
        said: `${named(model, point)}: precision ${decimals(y)} at ${ranks[at]}; ${behind(point)}`,
      })),
    }));
  return chart({
    title: `Precision at N, ${arrow(model.tasks[task])}`,
    model,
    lines,
    x: { name: "N", low: 1, high: Math.max(2, ...ranks), log: true },
    y: { name: "precision", low: 0, high: 1 },
    level: chanceOf(model, task),
  });
}

function scores(model, task, points, shown, bits) {
  const found = shown.flatMap((arm) => points.filter((point) => point.arm === arm && point.task === task));
  return dotChart(model, `${model.metric} at ${bits} bits, ${arrow(model.tasks[task])}`, found, chanceOf(model, task));
}

function byLength(model, shown, bits) {
  if (model.lengths.length < 2) return [];
  const high = Math.max(0.1, ...model.points.map((point) => point.mean)) * 1.05;
  return model.tasks.map((name, task) =>
    chart({
      title: `${model.metric} by code length, ${arrow(name)}`,
      model,
      mark: bits,
      level: chanceOf(model, task),
      x: { name: "bits", low: model.lengths[0], high: model.lengths.at(-1), log: true, ticks: model.lengths },
      y: { name: model.metric, low: 0, high },
      lines: shown.map((arm) => ({
        arm,
        points: model.points
          .filter((point) => point.arm === arm && point.task === task)
          .map((point) => ({
            x: point.bits,
            y: point.mean,
            said: saidOf(model, point),
          })),
      })),
    }),
  );
}

function saidOf(model, point) {
  const values = point.values.map((value) => decimals(value)).join(", ");
  return `${named(model, point)}: ${model.metric} ${decimals(point.mean)} (${values}); ${behind(point)}`;
}

function cost(model, shown, bits) {
  const known = model.cost.filter((each) => each.bits === bits && shown.includes(each.arm) && each.fit_seconds > 0);
  if (!known.length) return [];
  const times = known.map((each) => each.fit_seconds);
  const scores = known.map((each) => each.score);
  const room = Math.max(0.01, (Math.max(...scores) - Math.min(...scores)) * 0.1);
  const front = known
    .filter((each) => !known.some((other) => other.fit_seconds <= each.fit_seconds && other.score > each.score))
    .sort((a, b) => a.fit_seconds - b.fit_seconds);
  return [
    chart({
      title: `${model.metric} (mean of tasks) against training time, ${bits} bits; line: nobody is better in less time`,
      model,
      x: { name: "seconds of training", low: Math.min(...times) / 1.3, high: Math.max(...times) * 1.3, log: true },
      y: { name: model.metric, low: Math.min(...scores) - room, high: Math.max(...scores) + room },
      front: front.map((each) => [each.fit_seconds, each.score]),
      lines: known.map((each) => ({
        arm: each.arm,
        points: [
          {
            x: each.fit_seconds,
            y: each.score,
            said: `${model.arms[each.arm].name}, ${bits} bits: ${model.metric} ${decimals(each.score)}, ${each.fit_seconds.toFixed(1)} s of training`,
          },
        ],
      })),
    }),
  ];
}

function chanceOf(model, task) {
  const level = Number(model.chance[task]);
  return Number.isNaN(level) ? undefined : level;
}

// ---------------------------------------------------------------- classes and examples

function classes(root, model, control, bits) {
  const task = Number(control("task").value);
  const of = (name) =>
    model.points.find(
      (point) => point.arm === Number(control(name).value) && point.task === task && point.bits === bits,
    );
  const [a, b] = [of("a"), of("b")];
  const [one, other] = ["a", "b"].map((name) => model.arms[control(name).value]?.name);
  root.querySelector("table.differences caption").textContent =
    `A: ${one}. B: ${other}. ${arrow(model.tasks[task])}, ${bits} bits.`;
  const rows = [];
  model.classes.forEach((name, at) => {
    const [x, y] = [a?.classes[at], b?.classes[at]];
    if (x != null && y != null) rows.push({ name, x, y, size: model.class_sizes[task][at], difference: x - y });
  });
  rows.sort((x, y) => y.difference - x.difference);
  const most = Math.max(0.01, ...rows.map((row) => Math.abs(row.difference)));
  const body = root.querySelector("table.differences tbody");
  body.replaceChildren(
    ...rows.map((row) => {
      const width = (96 * Math.abs(row.difference)) / most;
      const bar = drawn(
        "svg",
        { viewBox: "0 0 200 14", width: 200, height: 14, "aria-hidden": "true" },
        drawn("line", { x1: 100, x2: 100, y1: 0, y2: 14, class: "zero" }),
        drawn("rect", {
          x: row.difference > 0 ? 100 : 100 - width,
          y: 2,
          width,
          height: 10,
          class: row.difference > 0 ? "higher" : "lower",
        }),
      );
      const cells = [row.size, decimals(row.x), decimals(row.y), signed(row.difference)].map((text) =>
        element("td", {}, String(text)),
      );
      return element(
        "tr",
        { class: row.size < FEW ? "few" : "" },
        element("th", { scope: "row" }, element("bdi", {}, row.name)),
        ...cells,
        element("td", { class: "plot" }, bar),
      );
    }),
  );
  if (!rows.length)
    body.append(
      element(
        "tr",
        {},
        element("td", { colspan: 6, class: "word" }, "One of them has no run of this length and task."),
      ),
    );
}

function examples(root, control) {
  if (!control("one")) return;
  const chosen = [control("one").value, control("other").value];
  for (const answer of root.querySelectorAll(".answer")) answer.hidden = !chosen.includes(answer.dataset.arm);
}

// ---------------------------------------------------------------- drawing

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [440, 290, 44, 12, 10, 38];

function scaleOf(axis, from, to) {
  const bend = axis.log ? Math.log : (value) => value;
  const [low, high] = [bend(axis.low), bend(axis.high)];
  return (value) => from + ((to - from) * (bend(value) - low)) / (high - low || 1);
}

function ticksOf(axis) {
  if (axis.ticks) return axis.ticks;
  if (axis.log) {
    const wide = axis.high / axis.low > 50;
    const found = [];
    for (let ten = Math.floor(Math.log10(axis.low)); ten <= Math.log10(axis.high); ten++) {
      found.push(...(wide ? [1] : [1, 2, 5]).map((times) => times * 10 ** ten));
    }
    return found.filter((tick) => tick >= axis.low && tick <= axis.high);
  }
  const rough = (axis.high - axis.low) / 5;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * ten).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(axis.low / step - 1e-9); at * step <= axis.high * 1.0001; at++) found.push(at * step);
  return found;
}

const tickText = (value) =>
  value >= 1000
    ? `${Number((value / 1000).toPrecision(3))}k`
    : String(Number(value.toPrecision(3))).replace(/^0\./, ".");

function frame(title, height, x, y, across, down) {
  const svg = drawn("svg", {
    viewBox: `0 0 ${WIDTH} ${height}`,
    role: "img",
    tabindex: 0,
    "aria-label": `${title}. Arrow keys read its points.`,
  });
  for (const tick of ticksOf(x)) {
    svg.append(
      drawn("line", { x1: across(tick), x2: across(tick), y1: TOP, y2: height - BOTTOM, class: "grid" }),
      drawn("text", { x: across(tick), y: height - BOTTOM + 14, "text-anchor": "middle" }, tickText(tick)),
    );
  }
  for (const tick of y ? ticksOf(y) : []) {
    svg.append(
      drawn("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: down(tick), y2: down(tick), class: "grid" }),
      drawn("text", { x: LEFT - 6, y: down(tick) + 4, "text-anchor": "end" }, tickText(tick)),
    );
  }
  svg.append(drawn("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: height - 6, "text-anchor": "middle" }, x.name));
  if (y)
    svg.append(
      drawn(
        "text",
        { x: 0, y: 0, transform: `translate(11 ${(TOP + height - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle" },
        y.name,
      ),
    );
  return svg;
}

function chart({ title, model, lines, x, y, level, mark, front }) {
  const [across, down] = [scaleOf(x, LEFT, WIDTH - RIGHT), scaleOf(y, HEIGHT - BOTTOM, TOP)];
  const svg = frame(title, HEIGHT, x, y, across, down);
  if (level !== undefined)
    svg.append(drawn("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: down(level), y2: down(level), class: "reference" }));
  if (mark !== undefined)
    svg.append(drawn("line", { x1: across(mark), x2: across(mark), y1: TOP, y2: HEIGHT - BOTTOM, class: "reference" }));
  if (front)
    svg.append(
      drawn("polyline", { points: front.map(([a, b]) => `${across(a)},${down(b)}`).join(" "), class: "reference" }),
    );
  const found = [];
  for (const line of lines) {
    const look = lookOf(model.arms[line.arm].place);
    const places = line.points.map((point) => ({ ...point, left: across(point.x), top: down(point.y) }));
    found.push(places);
    const group = drawn("g", { class: look.colour, "data-arm": line.arm });
    if (places.length > 1)
      group.append(
        drawn("polyline", {
          points: places.map((at) => `${at.left.toFixed(1)},${at.top.toFixed(1)}`).join(" "),
          class: "curve",
          "stroke-dasharray": look.dash,
        }),
      );
    const every = Math.max(1, Math.ceil(places.length / 6));
    places.forEach((at, i) => {
      if (i % every === 0)
        group.append(
          drawn("path", {
            d: look.marker,
            transform: `translate(${at.left.toFixed(1)} ${at.top.toFixed(1)})`,
            class: "marker",
          }),
        );
    });
    svg.append(group);
  }
  return withReadout(title, svg, found, level === undefined ? "" : `dotted: chance ${decimals(level)}`);
}

function dotChart(model, title, points, level) {
  const height = TOP + BOTTOM + 18 * Math.max(points.length, 3);
  const longest = 172;
  const values = points.flatMap((point) => point.values);
  const room = Math.max(0.01, (Math.max(...values) - Math.min(...values)) * 0.1);
  const x = { name: model.metric, low: Math.min(...values) - room, high: Math.max(...values) + room };
  if (!points.length) [x.low, x.high] = [0, 1];
  const across = scaleOf(x, longest + 8, WIDTH - RIGHT - 30);
  const svg = frame(title, height, x, null, across);
  const places = points.map((point, row) => {
    const top = TOP + 18 * row + 9;
    const look = lookOf(model.arms[point.arm].place);
    const name = model.arms[point.arm].name;
    svg.append(
      drawn(
        "text",
        { x: longest, y: top + 4, "text-anchor": "end", class: "name" },
        name.length > 27 ? `${name.slice(0, 26)}…` : name,
      ),
      drawn(
        "g",
        { class: look.colour, "data-arm": point.arm },
        ...point.values.map((value) =>
          drawn("line", { x1: across(value), x2: across(value), y1: top - 5, y2: top + 5, class: "seed" }),
        ),
        drawn("path", { d: look.marker, transform: `translate(${across(point.mean)} ${top})`, class: "marker" }),
      ),
      drawn("text", { x: across(Math.max(...point.values)) + 8, y: top + 4 }, decimals(point.mean)),
    );
    return { left: across(point.mean), top, said: saidOf(model, point) };
  });
  const note = level === undefined ? "ticks: seeds" : `ticks: seeds; chance ${decimals(level)} `;
  return withReadout(
    title,
    svg,
    places.map((place) => [place]),
    note,
  );
}

function withReadout(title, svg, lines, note) {
  const readout = element("p", { class: "readout", "aria-live": "polite" }, note);
  const ring = drawn("circle", { r: 6, class: "pointed", visibility: "hidden" });
  svg.append(ring);
  let [line, at] = [0, -1];
  const point = (place) => {
    filled(ring, { cx: place.left, cy: place.top, visibility: "visible" }, []);
    readout.textContent = place.said;
  };
  const leave = () => {
    ring.setAttribute("visibility", "hidden");
    readout.textContent = note;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const times = WIDTH / box.width;
    const [left, top] = [(event.clientX - box.left) * times, (event.clientY - box.top) * times];
    let nearest = null;
    lines.forEach((places, i) =>
      places.forEach((place, j) => {
        const far = Math.hypot(place.left - left, place.top - top);
        if (!nearest || far < nearest.far) nearest = { far, i, j };
      }),
    );
    if (!nearest || nearest.far > 40) return leave();
    [line, at] = [nearest.i, nearest.j];
    point(lines[line][at]);
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    const move = moves[event.key];
    if (!move || !lines.some((places) => places.length)) return;
    event.preventDefault();
    do line = (line + move[0] + lines.length) % lines.length;
    while (!lines[line].length);
    at = Math.min(Math.max(at + move[1], 0), lines[line].length - 1);
    point(lines[line][at]);
  });
  return element("figure", {}, element("figcaption", {}, title), svg, readout);
}

// ---------------------------------------------------------------- start

document.documentElement.classList.add("scripted");
const sections = data.sections.map((model) => [model.id, section(model)]);
usual = new Map(controls.map((control) => [control, control.value]));
const drawAll = () => sections.forEach(([, draw]) => draw());
readState();
drawAll();
let soon = 0;
document.addEventListener("input", (event) => {
  const id = event.target.name?.split(".")[0];
  sections.filter(([name]) => name === id).forEach(([, draw]) => draw());
  clearTimeout(soon);
  soon = setTimeout(writeState, 150); // browsers refuse too many new addresses in a row
});
window.addEventListener("hashchange", () => {
  readState();
  drawAll();
});
window.addEventListener("beforeprint", () =>
  document.querySelectorAll("details").forEach((each) => {
    each.open = true;
  }),
);
