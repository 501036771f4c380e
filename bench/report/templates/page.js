const unpack = async (name) => {
  const text = document.getElementById(`payload-${name}`).textContent;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
};
let unpacked;
const cells = () => (unpacked ??= unpack("cells"));
const { swatches, keys } = JSON.parse(document.getElementById("facts").textContent);

// What is shown comes from records, which may be anybody's: text, unless html`...` made it.
class Html {
  constructor(text) {
    this.text = text;
  }
}
const escaped = (value) => {
  if (value instanceof Html) return value.text;
  if (Array.isArray(value)) return value.map(escaped).join("");
  return String(value ?? "").replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
};
const html = (strings, ...parts) =>
  new Html(strings.reduce((all, string, n) => all + escaped(parts[n - 1]) + string));
const minus = (text) => text.replace(/^-/, "−");
const fixed = (digits) => (value) => (value == null ? "" : minus(value.toFixed(digits)));
const grouped = (value) => (value == null ? "" : Math.round(value).toLocaleString("en-GB"));
const rounded = (digits) => (value) =>
  value == null ? "" : Math.abs(value) >= 10 ** digits - 0.5 ? grouped(value) : minus(value.toPrecision(digits));
const significant = (value) =>
  value == null ? "" : Number.isInteger(value) ? grouped(value) : rounded(4)(value);
const patternLabel = (pattern) =>
  pattern.includes("of") ? pattern.replace("of", ":") : pattern.replace(/^s(.*)/, "$1 %");

// A cell is shown in one form and sorted by another; what is missing sorts as the worst.
const column = (title, value, show, options = {}) => ({
  title: escaped(title),
  className: options.text ? options.text : "number",
  type: options.text ? "string" : "num",
  searchable: options.text !== undefined,
  data: null,
  render: (row, use) => {
    const plain = value(row);
    if (use === "display") return escaped(show(plain, row));
    return use === "sort" ? plain ?? options.missing ?? -Infinity : plain ?? "";
  },
  ...options.more,
});
const swatch = (repair) =>
  html`<span class="swatch" style="background:${swatches[repair] ?? "#767676"}"></span>`;

const settings = {
  autoWidth: false,
  deferRender: true,
  order: [],
  pageLength: 50,
  lengthMenu: [25, 50, 100, { label: "all", value: -1 }],
  layout: { topStart: "info", topEnd: ["pageLength", "search"], bottomStart: null, bottomEnd: "paging" },
};
const language = { search: "search", lengthMenu: "_MENU_ rows" };
// Of bases, the parts that not all rows have in common.
const NO_BUDGET = "none";
const placed = (rows) => {
  for (const row of rows)
    row.place = keys
      .filter((key) => key !== "budget" || row[key] !== NO_BUDGET)
      .map((key) => (key === "pattern" ? patternLabel(row[key]) : row[key]))
      .join(" ");
  return rows;
};

// ---- Table

const half = (low, high) => (low == null ? "" : html`<small>± ${rounded(2)((high - low) / 2)}</small>`);
const scoreColumn = ({ heading, lower, group }, position) => {
  const show = lower ? rounded(4) : fixed(1);
  return column(
    heading,
    (row) => row.scores[position][0],
    (mean, row) => {
      const [, low, high, best] = row.scores[position];
      return html`${best ? html`<b>${show(mean)}</b>` : show(mean)}${half(low, high)}`;
    },
    { missing: lower ? Infinity : -Infinity, more: { name: group, visible: group === "chief" } }
  );
};
const costColumn = ({ name, heading, count }) =>
  column(
    heading,
    (row) => row[name],
    (mean, row) => {
      const [low, high] = [row[`${name}_low`], row[`${name}_high`]];
      return html`${(count ? grouped : rounded(3))(mean)}${low === high ? "" : html`<small>${grouped(low)}–${grouped(high)}</small>`}`;
    },
    { missing: Infinity, more: { name: "cost" } }
  );

const boardColumns = ({ scores, costs, rows }) => {
  const shown = (group) =>
    scores.flatMap((score, position) => (score.group === group ? [scoreColumn(score, position)] : []));
  // Published numbers have no cells; what is not trained has one seed, and may fail like all others.
  const measured = rows.filter((row) => row.cells.length);
  const trained = measured.filter((row) => row.repair !== "none");
  const differ = (key, among) => new Set(among.map((row) => row[key])).size > 1;
  return [
    column(
      "repair",
      (row) => `${row.pruner === "dense" ? "dense" : row.repair} ${row.place}`,
      (_, row) => {
        const dense = row.pruner === "dense";
        const name = dense ? "dense" : row.repair;
        return html`<span class="place">${dense ? (keys.includes("model") ? row.model : "") : row.place}</span
          ><span class="what">${dense ? "" : swatch(name)}<button type="button" class="open" aria-haspopup="dialog">${name}</button></span>`;
      },
      { text: "name" }
    ),
    ...shown("chief"),
    column(
      "recovery",
      (row) => row.recovery[0],
      (value, { recovery: [, low, high] }) =>
        html`${fixed(2)(value)}${low == null ? "" : html`<small>${fixed(2)(low)} to ${fixed(2)(high)}</small>`}`
    ),
    ...shown("task"),
    column(
      "sparsity",
      (row) => row.achieved,
      (achieved, row) =>
        achieved == null
          ? ""
          : row.drifted
            ? html`<span class="warning" title="asked for ${(100 * row.asked).toFixed(1)} %">⚠ ${(100 * achieved).toFixed(1)}</span>`
            : (100 * achieved).toFixed(1)
    ),
    ...costs.map(costColumn),
    ...(differ("device", trained) ? [column("device", (row) => row.device, (device) => device, { text: "text" })] : []),
    ...(new Set(rows.map((row) => row.origin)).size > 1
      ? [
          column(
            "origin",
            (row) => row.origin,
            (origin, row) => html`${origin}${row.state ? html`<small>${row.state}</small>` : ""}`,
            { text: "text" }
          ),
        ]
      : []),
    ...(differ("seeds", trained) ? [column("seeds", (row) => row.seeds, significant)] : []),
    ...(differ("status", measured)
      ? [
          column(
            "status",
            (row) => row.status,
            (status, row) =>
              row.reason
                ? html`<span class="reason" title="${row.reason}">${status}: ${row.reason}</span>`
                : status,
            { text: "text" }
          ),
        ]
      : []),
  ];
};

// One line between bases, while the rows stand in their own order.
const ruled = (table) => {
  let previous;
  const natural = table.order().length === 0;
  table.rows({ page: "current" }).every(function () {
    const { place } = this.data();
    this.node().classList.toggle("group", natural && previous !== undefined && place !== previous);
    previous = place;
  });
};

const values = (rows, key) => [...new Set(rows.flatMap((row) => row[key]))];
// A choice of one is none.
const fill = (form, rows) => {
  for (const select of form.querySelectorAll("select")) {
    const found = values(rows, select.name).filter((value) => select.name !== "budget" || value !== NO_BUDGET);
    select.parentElement.hidden = found.length < 2;
    for (const value of found)
      select.append(new Option(select.name === "pattern" ? patternLabel(value) : value, value));
  }
};
// What is not trained is there at each budget.
const isEqual = (row, key, value) =>
  (Array.isArray(row[key]) ? row[key].includes(value) : row[key] === value) ||
  (key === "budget" && row.budget === NO_BUDGET);
const chosen = (form, names) => {
  const wanted = names.map((name) => [name, form.elements[name].value]).filter(([, value]) => value);
  return (row) => wanted.every(([name, value]) => isEqual(row, name, value));
};
const follow = (form, show) => {
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
};

const makeBoard = async () => {
  const board = await unpack("board");
  const element = document.getElementById("board");
  // So that repairs stand below each other.
  const widest = placed(board.rows).reduce((most, row) => Math.max(most, row.place.length), 0);
  document.body.style.setProperty("--place", `${widest}ch`);
  const table = new DataTable(element, {
    ...settings,
    columns: boardColumns(board),
    drawCallback() {
      ruled(this.api());
    },
    language: { emptyTable: "No cell has been recorded.", ...language },
  });
  const form = document.querySelector('[data-table="board"]');
  fill(form, board.rows);
  const names = [...keys, "repair", "origin", "status"];
  follow(form, () => table.clear().rows.add(board.rows.filter(chosen(form, names))).draw());
  form.addEventListener("change", ({ target: { name, checked } }) => {
    if (["task", "cost"].includes(name)) table.columns(`${name}:name`).visible(checked);
    if (name === "intervals") element.classList.toggle("no-intervals", !checked);
  });
  element.addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (row && table.row(row).data()) openDrawer(table.row(row).data(), board.scores);
  });
  let length;
  addEventListener("beforeprint", () => {
    length = table.page.len();
    table.page.len(-1).draw();
  });
  addEventListener("afterprint", () => table.page.len(length).draw());
};

// ---- Drawer

const drawer = document.getElementById("drawer");
const tableOf = (heads, rows) => html`
  <div class="scroll"><table class="plain">
  <thead><tr>${heads.map((head, n) => html`<th scope="col" class="${n ? "number" : ""}">${head}</th>`)}</tr></thead>
  <tbody>${rows.map(
    ([first, ...rest]) =>
      html`<tr><th scope="row">${first}</th>${rest.map((value) => html`<td class="number">${value}</td>`)}</tr>`
  )}</tbody></table></div>`;
const definitions = (entries) => {
  const known = entries.filter(([, value]) => value != null && value !== "");
  return html`<dl>${known.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
};
const mebibytes = (bytes) => (bytes == null ? "" : grouped(bytes / 2 ** 20));
const percent = (fraction) => (fraction == null ? "" : `${(100 * fraction).toFixed(2)} %`);

const cellHtml = (cell, pool) => {
  const stages = Object.entries(cell.stages).filter(([, costs]) => costs);
  const { sparsity, error } = cell;
  const provenance = pool[cell.provenance];
  const config = Object.fromEntries(
    Object.entries(cell.config).map(([section, position]) => [section, pool[position]])
  );
  const repair = cell.stages.repair;
  const failure = error
    ? html`<p class="warning">${error.stage}, attempt ${error.attempt}: ${error.class}: ${error.message}</p>`
    : "";
  const known = definitions([
    ["sparsity asked for", percent(sparsity.requested)],
    ["achieved", percent(sparsity.achieved)],
    ["layers", sparsity.lowest_layer == null ? "" : `${percent(sparsity.lowest_layer)} to ${percent(sparsity.highest_layer)}`],
    ["trainable", repair && grouped(repair.trainable_parameters)],
    ["tokens", repair && grouped(repair.tokens)],
    ["steps", repair && grouped(repair.steps)],
    ["tokens a second", repair && significant(repair.tokens_per_second)],
    ["seconds evolving", repair && significant(repair.seconds_evolving)],
    ["record", cell.path],
    ["results by item", cell.samples],
  ]);
  const scores = tableOf(
    ["task", "metric", "value", "standard error", "items", "few-shot", "limit", "version"],
    cell.metrics.map((m) => [
      m.task, m.metric, significant(m.value), significant(m.stderr), m.n, m.few_shot, m.limit, m.version,
    ])
  );
  const costs = tableOf(
    ["stage", "computing s", "of that without a core", "loading s", "start-up s", "host MiB", "device MiB"],
    stages.map(([stage, c]) => [
      stage, significant(c.seconds), significant(c.waited_seconds),
      significant(c.loading_seconds), significant(c.startup_seconds),
      mebibytes(c.peak_rss_bytes), mebibytes(c.peak_device_bytes),
    ])
  );
  return html`<h3>seed ${cell.seed}: ${cell.status}</h3>${failure}${known}
    ${cell.metrics.length ? html`<h4>Scores</h4>${scores}` : ""}
    ${stages.length ? html`<h4>Costs</h4>${costs}` : ""}
    <h4>Provenance</h4><pre>${JSON.stringify(provenance, null, 2)}</pre>
    <h4>Resolved configuration</h4><p class="caption">SHA-256 ${cell.hash}</p>
    <pre>${JSON.stringify(config, null, 2)}</pre>`;
};

const openDrawer = async (row, names) => {
  const { model, pruner, pattern, budget, repair } = row;
  const at = keys.includes("budget") && budget !== NO_BUDGET ? [budget] : [];
  const title = pruner === "dense" ? [model, "dense"] : [model, pruner, patternLabel(pattern), repair, ...at];
  drawer.querySelector("h2").textContent = title.join(" · ");
  const scores = names.map(({ name }, n) => {
    const [mean, low, high, , tie] = row.scores[n];
    return [name, rounded(4)(mean), low == null ? "" : `${rounded(4)(low)} to ${rounded(4)(high)}`, tie];
  });
  const content = drawer.querySelector(".content");
  content.innerHTML = escaped(html`${tableOf(["over seeds", "mean", "95 % interval", "tie group"], scores)}
    <p class="caption">Tie group 1 are the repairs that do not differ significantly from the best of this base, 2 those
    that do not differ from the best of the rest, and so on.</p>`);
  drawer.showModal();
  drawer.scrollTop = 0;
  const { cells: all, pool } = await cells();
  content.innerHTML += escaped(row.cells.map((number) => cellHtml(all[number], pool)));
};
drawer.querySelector(".close").addEventListener("click", () => drawer.close());
drawer.addEventListener("click", (event) => event.target === drawer && drawer.close());

// ---- Comparisons

const turned = (row) => ({
  ...row,
  repair_a: row.repair_b,
  repair_b: row.repair_a,
  mean_a: row.mean_b,
  mean_b: row.mean_a,
  difference: -row.difference,
  ci_low: row.ci_low == null ? null : -row.ci_high,
  ci_high: row.ci_high == null ? null : -row.ci_low,
});
// Both ends of an interval, cut where the drawing ends, and zero.
const forest = (row, widest) => {
  if (row.ci_low == null) return "";
  const [low, middle, high] = [row.ci_low, row.difference, row.ci_high].map(
    (value) => 75 + 72 * Math.max(-1, Math.min(1, value / widest))
  );
  return html`<svg class="${row.verdict}" viewBox="0 0 150 14" width="150" height="14" aria-hidden="true"
    ><path d="M0 7H150M75 0V14"/><path class="interval" d="M${low} 7H${high}"/><circle cx="${middle}" cy="7" r="3"/></svg>`;
};

const makePairs = async () => {
  const all = placed(await unpack("comparisons"));
  const widest = {};
  for (const row of all) {
    row.repair = row.reference = [row.repair_a, row.repair_b];
    (widest[row.score] ??= []).push(Math.abs(row.difference));
  }
  for (const [score, sizes] of Object.entries(widest))
    widest[score] = 1.5 * sizes.sort((a, b) => a - b)[Math.floor(0.9 * (sizes.length - 1))] || 1;
  const name = (repair) => html`${swatch(repair)}${repair}`;
  const table = new DataTable("#pairs", {
    ...settings,
    columns: [
      column(
        "repairs",
        (row) => `${row.repair_a} ${row.repair_b} ${row.place}`,
        (_, row) => html`<span class="place">${row.place}</span
          ><span class="what">${name(row.repair_a)} − ${name(row.repair_b)}</span>`,
        { text: "name" }
      ),
      column("difference", (row) => row.difference, (value, row) =>
        html`${rounded(3)(value)}<small>${row.ci_low == null || row.seeds === 1 ? "" : `${rounded(3)(row.ci_low)} to ${rounded(3)(row.ci_high)}`}</small>`),
      column("", (row) => row.difference, (_, row) => forest(row, widest[row.score]), { more: { orderable: false } }),
      column("verdict", (row) => row.verdict, (verdict, row) =>
        row.seeds === 1 ? html`one seed: no verdict` : verdict, { text: "text" }),
      column("p", (row) => row.p_holm, (p, row) =>
        html`<span title="${row.test}">${p == null ? "" : p < 0.001 ? "< 0.001" : p.toFixed(3)}</span>`, { missing: Infinity }),
      column("first", (row) => row.mean_a, rounded(4)),
      column("second", (row) => row.mean_b, rounded(4)),
      column("items", (row) => row.items, significant),
      column("seeds", (row) => row.seeds, significant),
    ],
    language: { emptyTable: "No two repairs have been compared.", ...language },
  });
  const form = document.querySelector('[data-table="pairs"]');
  fill(form, all);
  const { score, reference, verdict } = form.elements;
  if (all.length) score.value = all[0].score;
  const ours = all.filter((row) => row.score === score.value);
  if (ours.some((row) => row.verdict === "significant")) verdict.value = "significant";
  follow(form, () => {
    const asked = all.filter(chosen(form, [...keys, "score", "repair", "reference"]));
    const counts = ["significant", "equal", "inconclusive", "no verdict"]
      .map((value) => [asked.filter((row) => row.verdict === value).length, value])
      .filter(([count]) => count)
      .map(([count, value]) => `${count} ${value}`);
    document.getElementById("found").textContent = asked.some((row) => row.verdict === "significant")
      ? `Of ${asked.length} comparisons ${counts.join(", ")}.`
      : `Of ${asked.length} comparisons none is significant: ${counts.join(", ")}.`;
    const rows = asked
      .filter(chosen(form, ["verdict"]))
      .map((row) => (row.repair_a === reference.value ? turned(row) : row));
    table.clear().rows.add(rows).draw();
  });
};

// ---- Figures

const makeFigures = async () => {
  const drawn = await unpack("figures");
  const form = document.querySelector("#figures form");
  const { model, pattern, budget } = form.elements;
  follow(form, () => {
    for (const figure of document.querySelectorAll("[data-figure]")) {
      const found = drawn[figure.dataset.figure] ?? {};
      const at = `${model.value}${figure.dataset.figure === "budget" ? "" : budget.value}`;
      const svg = found[at] ?? found[`${at}/${pattern.value}`];
      figure.hidden = svg === undefined;
      if (svg === undefined) continue;
      const image = figure.querySelector("img");
      URL.revokeObjectURL(image.src);
      image.src = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
      image.alt = `${figure.dataset.figure}, ${model.value}, ${patternLabel(pattern.value)}: ` +
        figure.querySelector("figcaption").textContent;
    }
  });
};

// What is far below is made when it comes near.
const whenNear = (id, make) => {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      make();
    },
    { rootMargin: "300px" }
  );
  observer.observe(document.getElementById(id));
};

await makeBoard();
makeFigures();
whenNear("comparisons", makePairs);
