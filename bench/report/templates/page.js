const unpack = async (name) => {
  const text = document.getElementById(`payload-${name}`).textContent;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
};
const once = (make) => {
  let made;
  return () => (made ??= make());
};
const cells = once(() => unpack("cells"));
const colours = JSON.parse(document.getElementById("colours").textContent);

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
  value == null ? "" : Math.abs(value) >= 10 ** digits ? grouped(value) : minus(value.toPrecision(digits));
const significant = (value) =>
  value == null ? "" : Number.isInteger(value) ? grouped(value) : rounded(4)(value);
const patternLabel = (pattern) =>
  pattern.includes("of") ? pattern.replace("of", ":") : pattern.replace(/^s(.*)/, "$1 %");

// A cell is shown in one form and sorted by another; what is missing sorts as the worst.
const column = (title, value, show, options = {}) => ({
  title: escaped(title),
  className: options.text ? options.text : "number",
  type: options.text ? "string" : "num",
  data: null,
  render: (row, use) => {
    const plain = value(row);
    if (use === "display") return escaped(show(plain, row));
    return use === "sort" ? plain ?? options.missing ?? -Infinity : plain ?? "";
  },
  ...options.more,
});
const named = (key, show = (value) => value) =>
  column(key, (row) => row[key], show, { text: "text" });
const swatch = (repair) =>
  html`<span class="swatch" style="background:${colours[repair] ?? "#767676"}"></span>`;

const layout = {
  topStart: "info",
  topEnd: ["pageLength", "search"],
  bottomStart: null,
  bottomEnd: "paging",
};
const settings = {
  autoWidth: false,
  deferRender: true,
  order: [],
  pageLength: 50,
  lengthMenu: [25, 50, 100, { label: "all", value: -1 }],
  layout,
};

// ---- Leaderboard

const scoreColumn = (tasks, task, position) => {
  const lower = /_(perplexity|bpb)$/.test(task);
  const show = lower ? rounded(4) : fixed(1);
  const title = task.replace(/_perplexity$/, " ppl").replaceAll("_", " ");
  return column(
    title,
    (row) => row.scores[position][0],
    (mean, row) => {
      const [, low, high, tie] = row.scores[position];
      const text = show(mean);
      const interval = low == null ? "" : html`<small>${show(low)}–${show(high)}</small>`;
      return html`${tie === 1 ? html`<b>${text}</b>` : text}${interval}`;
    },
    {
      missing: lower ? Infinity : -Infinity,
      more: { name: task === "average" || lower ? "score" : "task" },
    }
  );
};
const cost = (title, key, show) =>
  column(title, (row) => row[key], show, { missing: Infinity, more: { name: "cost" } });

// Of the unrepaired base, which is there at each budget.
const NO_BUDGET = "none";
const severalBudgets = document.querySelector('#figures [name="budget"]').options.length > 1;
const budgetColumn = () =>
  severalBudgets
    ? [column("budget", (row) => row.budget, (budget) => (budget === NO_BUDGET ? "" : budget), { text: "text" })]
    : [];

const boardColumns = (tasks) => {
  const scores = tasks.map((task, position) => scoreColumn(tasks, task, position));
  const answers = tasks.indexOf("answers_bpb");
  // The bits of single tasks are in the drawer.
  const others = scores.filter((_, n) => n && n !== answers && !tasks[n].endsWith("_answer_bpb"));
  return [
    named("model"),
    named("pruner"),
    column("pattern", (row) => row.pattern, patternLabel, { text: "text" }),
    ...budgetColumn(),
    column(
      "repair",
      (row) => row.repair,
      (repair, { pruner }) => {
        const [mark, name] = pruner === "dense" ? ["", "dense"] : [swatch(repair), repair];
        return html`${mark}<button type="button" class="open" aria-haspopup="dialog">${name}</button>`;
      },
      { text: "name" }
    ),
    column(
      "status",
      (row) => row.status,
      (status, row) =>
        row.reason
          ? html`<span class="reason" title="${row.reason}">${status}: ${row.reason}</span>`
          : status,
      { text: "text" }
    ),
    column("tie group", (row) => row.scores[0][3], significant, { missing: Infinity }),
    scores[0],
    column("recovery", (row) => row.scores[0][4], fixed(2)),
    ...(answers < 0 ? [] : [scores[answers]]),
    ...others,
    column(
      "sparsity",
      (row) => row.achieved,
      (achieved, row) =>
        achieved == null
          ? ""
          : row.drifted
            ? html`${(100 * achieved).toFixed(1)} <span class="warning" title="asked for ${(100 * row.asked).toFixed(1)} %">⚠ asked ${(100 * row.asked).toFixed(0)}</span>`
            : (100 * achieved).toFixed(1)
    ),
    cost("trainable", "trainable_parameters", grouped),
    cost(
      "memory MiB",
      "repair_peak_memory_mib",
      (mean, row) =>
        mean == null
          ? ""
          : `${grouped(mean)}<small>${grouped(row.repair_peak_memory_mib_low)}–` +
            `${grouped(row.repair_peak_memory_mib_high)}</small>`
    ),
    cost("prune s", "prune_seconds", rounded(3)),
    cost("repair + merge s", "repair_cost_seconds", rounded(3)),
    cost("evaluate s", "evaluate_seconds", rounded(3)),
    column("seeds", (row) => row.seeds, significant),
  ];
};

// One line between bases, while the rows stand in their own order.
const ruled = (table) => {
  let previous;
  const natural = table.order().length === 0;
  table.rows({ page: "current" }).every(function () {
    const { model, pruner, pattern, budget } = this.data();
    const base = `${model} ${pruner} ${pattern} ${severalBudgets ? budget : ""}`;
    this.node().classList.toggle("group", natural && previous !== undefined && base !== previous);
    previous = base;
  });
};

const values = (rows, key) => [...new Set(rows.flatMap((row) => row[key]))];
const fill = (form, rows, label = {}) => {
  for (const select of form.querySelectorAll("select")) {
    for (const value of values(rows, select.name)) {
      if (select.name === "budget" && value === NO_BUDGET) continue;
      const text = select.name === "pattern" ? patternLabel(value) : value;
      select.append(new Option(label[select.name]?.(value) ?? text, value));
    }
  }
};
const filtered = (form, table, matches) => {
  const apply = () => {
    const wanted = [...form.querySelectorAll("select")].filter((select) => select.value !== "");
    table.search.fixed("filters", (text, row) =>
      wanted.every((select) => matches(row, select.name, select.value))
    );
    table.draw();
  };
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
};
const isEqual = (row, key, value) =>
  [row[key]].flat().some((own) => String(own) === value) ||
  (key === "budget" && row.budget === NO_BUDGET);

const makeBoard = async () => {
  const { tasks, rows } = await unpack("board");
  const element = document.getElementById("board");
  const table = new DataTable(element, {
    ...settings,
    data: rows,
    columns: boardColumns(tasks),
    drawCallback() {
      ruled(this.api());
    },
    language: { emptyTable: "No cell has been recorded.", search: "search", lengthMenu: "_MENU_ rows" },
  });
  const form = document.querySelector('[data-table="board"]');
  fill(form, rows);
  filtered(form, table, isEqual);
  const show = { tasks: "task:name", costs: "cost:name" };
  form.addEventListener("change", ({ target }) => {
    if (target.name in show) table.columns(show[target.name]).visible(target.checked);
    if (target.name === "intervals") element.classList.toggle("no-intervals", !target.checked);
  });
  element.addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (row && table.row(row).data()) openDrawer(table.row(row).data(), tasks);
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
    ["stage", "computing s", "loading s", "start-up s", "host MiB", "device MiB"],
    stages.map(([stage, c]) => [
      stage, significant(c.seconds), significant(c.loading_seconds), significant(c.startup_seconds),
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

const openDrawer = async (row, tasks) => {
  const { model, pruner, pattern, budget, repair } = row;
  const at = severalBudgets && budget !== NO_BUDGET ? [budget] : [];
  const title = pruner === "dense" ? [model, "dense"] : [model, pruner, patternLabel(pattern), repair, ...at];
  drawer.querySelector("h2").textContent = title.join(" · ");
  const scores = tasks.map((task, n) => {
    const [mean, low, high, tie] = row.scores[n];
    return [task, rounded(4)(mean), low == null ? "" : `${rounded(4)(low)} to ${rounded(4)(high)}`, tie];
  });
  const content = drawer.querySelector(".content");
  content.innerHTML = escaped(tableOf(["over seeds", "mean", "95 % interval", "tie group"], scores));
  drawer.showModal();
  drawer.scrollTop = 0;
  const { cells: all, pool } = await cells();
  content.innerHTML += escaped(row.cells.map((number) => cellHtml(all[number], pool)));
};
drawer.querySelector(".close").addEventListener("click", () => drawer.close());
drawer.addEventListener("click", (event) => event.target === drawer && drawer.close());

// ---- Comparisons

const makePairs = async () => {
  const rows = await unpack("comparisons");
  for (const row of rows) {
    row.repair = [row.repair_a, row.repair_b];
    row.significant = row.significant ? "yes" : "no";
  }
  const repair = (key, title) =>
    column(title, (row) => row[key], (name) => html`${swatch(name)}${name}`, { text: "text" });
  const probability = (p) => (p == null ? "" : p < 0.001 ? "< 0.001" : p.toFixed(3));
  const table = new DataTable("#pairs", {
    ...settings,
    data: rows,
    columns: [
      named("model"),
      named("pruner"),
      column("pattern", (row) => row.pattern, patternLabel, { text: "text" }),
      ...budgetColumn(),
      named("task"),
      repair("repair_a", "a"),
      repair("repair_b", "b"),
      column("mean a", (row) => row.mean_a, rounded(4)),
      column("mean b", (row) => row.mean_b, rounded(4)),
      column("a − b", (row) => row.difference, (value, row) =>
        row.significant === "yes" ? html`<b>${rounded(3)(value)}</b>` : rounded(3)(value)),
      column("interval", (row) => row.ci_low, (low, row) =>
        low == null ? "" : `${rounded(3)(low)} to ${rounded(3)(row.ci_high)}`),
      column("p", (row) => row.p_value, probability, { missing: Infinity }),
      column("p (Holm)", (row) => row.p_holm, probability, { missing: Infinity }),
      column("items", (row) => row.items, significant),
      column("seeds", (row) => row.seeds, significant),
      named("test"),
    ],
    language: { emptyTable: "No two repairs have been compared.", search: "search", lengthMenu: "_MENU_ rows" },
  });
  const form = document.querySelector('[data-table="pairs"]');
  fill(form, rows);
  const tasks = form.elements.task;
  if ([...tasks.options].some((option) => option.value === "average")) tasks.value = "average";
  filtered(form, table, isEqual);
};

// ---- Figures

const makeFigures = async () => {
  const drawn = await unpack("figures");
  const form = document.querySelector("#figures form");
  const { model, pattern, budget } = form.elements;
  const show = () => {
    for (const figure of document.querySelectorAll("[data-figure]")) {
      const found = drawn[figure.dataset.figure] ?? {};
      const at = `${model.value}${budget.value}`;
      const svg = found[at] ?? found[`${at}/${pattern.value}`];
      figure.hidden = svg === undefined;
      if (svg === undefined) continue;
      const image = figure.querySelector("img");
      URL.revokeObjectURL(image.src);
      image.src = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
      image.alt = `${figure.dataset.figure}, ${model.value}, ${patternLabel(pattern.value)}: ` +
        figure.querySelector("figcaption").textContent;
    }
  };
  form.addEventListener("change", show);
  show();
};

// What is far below is made when it comes near.
const whenNear = (id, make) => {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      make();
    },
    { rootMargin: "800px" }
  );
  observer.observe(document.getElementById(id));
};

await makeBoard();
makeFigures();
whenNear("comparisons", makePairs);
