"use strict";
// Shows jobs.json. Rows that did not change are not touched, so that focus, selection and scroll position stay.

const LEEWAY = 120; // seconds that a poll may be late
const words = element("words");
const tiles = [...document.querySelectorAll("#tiles button")];
const headings = [...document.querySelectorAll("#jobs th button")];

const rows = new Map(); // by account and id: the row's element and parts, its job, the job's JSON, what the filter reads
let shown = null; // what jobs.json said last
let order = { key: null, descending: false }; // null: by attention, as jobs.json has them
let well = null; // whether all accounts are

const refresh = follow("jobs.json", { show, tick });

const keys = {
  name: (job) => (job.suffix ?? job.id).toLowerCase(),
  status: (job) => job.status,
  model: (job) => job.model?.toLowerCase(),
  progress: (job) => job.progress,
  end: (job) => job.finished ?? job.eta,
  price: (job) => job.price,
  age: (job) => job.created && -job.created,
};

function show(news) {
  shown = news;
  const focused = document.activeElement;
  const stale = new Set(rows.keys());
  for (const job of news.jobs) {
    const key = keyOf(job);
    stale.delete(key);
    update(key, job);
  }
  for (const key of stale) {
    rows.get(key).row.remove();
    rows.delete(key);
  }
  sort();
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  count();
  sift();
}

function keyOf(job) {
  return JSON.stringify([job.account, job.id]);
}

/** Puts the rows in order. A row that moved is removed first, so that the rows between stay where they are. */
function sort() {
  const wanted = shown.jobs.map((job) => rows.get(keyOf(job)));
  const key = keys[order.key];
  if (key) {
    const sign = order.descending ? -1 : 1;
    const known = wanted.filter(({ job }) => key(job) !== undefined);
    const unknown = wanted.filter(({ job }) => key(job) === undefined);
    known.sort(({ job: one }, { job: other }) => sign * compare(key(one), key(other)));
    wanted.splice(0, wanted.length, ...known, ...unknown);
  }
  const body = element("jobs").tBodies[0];
  let next = body.firstElementChild;
  for (const { row } of wanted) {
    if (next !== row && next?.nextElementSibling === row) {
      next.remove();
      next = row;
    }
    if (next === row) next = row.nextElementSibling;
    else body.insertBefore(row, next);
  }
}

function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

function update(key, job) {
  const said = JSON.stringify(job);
  let entry = rows.get(key);
  if (entry?.said === said) return;
  if (!entry) {
    entry = create();
    rows.set(key, entry);
  }
  entry.job = job;
  entry.said = said;
  entry.words = [job.suffix, job.id, job.account, job.model, job.output, job.status, job.status.replaceAll("_", " ")]
    .join("\n")
    .toLowerCase();
  const { row, parts } = entry;
  const bar = parts.progress;
  row.classList.toggle("ended", statuses.get(job.status).phase === "ended");
  write(parts.title, job.suffix ?? job.id);
  parts.link.href = `job?${new URLSearchParams({ account: job.account, id: job.id })}`;
  parts.link.title = flat(job.suffix ?? job.id);
  write(parts.id, job.suffix === undefined ? "" : job.id);
  paint(parts.status, job.status);
  write(parts.model, job.model ?? "unknown");
  parts.model.title = flat(job.model ?? "");
  write(parts.account, job.account);
  bar.hidden = job.progress === undefined || job.place !== undefined;
  if (!bar.hidden) bar.value = job.progress;
  write(parts.done, bar.hidden ? place(job) : percent(job.progress));
  write(parts.price, job.price === undefined ? "" : dollars.format(job.price));
}

function create() {
  const row = element("row").content.firstElementChild.cloneNode(true);
  const parts = {};
  for (const part of row.getElementsByTagName("*")) parts[part.className || part.localName] = part;
  return { row, parts };
}

function place(job) {
  return job.place ? `${plain.format(job.place)} in queue` : "";
}

/** What changes with time alone. */
function tick() {
  if (shown) {
    const time = now();
    for (const { parts, job } of rows.values()) {
      badge(parts.badge, job.mark, time);
      stamp(parts.end, job.finished ?? job.eta, job.finished ? ago : until, time);
      stamp(parts.age, job.created, age, time);
    }
    accounts(time);
  }
  problems();
}

function accounts(time) {
  const body = element("accounts").tBodies[0];
  shown.accounts.forEach((account, index) => {
    const row = body.rows[index] ?? blankAccount(body);
    const [name, health, successful, jobs, spent] = row.cells;
    write(name.firstElementChild, account.name);
    write(health, account.health);
    stamp(successful, account.last_successful, ago, time, "never");
    write(jobs, account.jobs === null ? "unknown" : plain.format(account.jobs));
    write(spent, spentOf(account));
  });
  while (body.rows.length > shown.accounts.length) body.deleteRow(-1);
}

function spentOf({ jobs, month_price: price, budget }) {
  const spent = price === null || jobs === null ? "unknown" : dollars.format(price);
  return budget === null ? spent : `${spent} of ${dollars.format(budget)}`;
}

/** The problems of accounts, in words; the accounts unfold when there are any, and fold when there are none. */
function problems() {
  const lines = [];
  for (const account of shown?.accounts ?? []) {
    const { name, up, health, last, last_successful: successful, interval, month_price: price, budget } = account;
    const since = successful ? `Its jobs are shown as of ${clock(successful)}.` : "No poll was successful yet.";
    if (up === false) lines.push([name, `the last poll ${health}. ${since}`]);
    else if (up && silentSince === null && now() > last + (interval ?? 0) + LEEWAY) lines.push([name, `the next poll is overdue. ${since}`]);
    if (budget !== null && price > budget) lines.push([name, `${spentOf(account)} spent this month: over budget.`]);
  }
  report(lines);
  const polled = shown?.accounts.map((account) => account.last_successful) ?? [];
  if (polled.length) {
    const number = polled.length === 1 ? "1 account" : `${plain.format(polled.length)} accounts`;
    const oldest = polled.includes(null) ? "not polled yet" : `polled ${ago(Math.min(...polled), now())}`;
    write(element("fold"), lines.length ? `${number}, see above` : `${number}, ${oldest}`);
  }
  if (well !== (lines.length === 0)) {
    well = lines.length === 0;
    element("accounts").parentElement.open = !well;
  }
}

/** The numbers of the tiles and of the tab. */
function count() {
  const numbers = { stuck: 0, failed: 0, running: 0, waiting: 0, month: 0 };
  for (const { groups } of shown.jobs) for (const group of groups) numbers[group] += 1;
  for (const tile of tiles) {
    const { group } = tile.dataset;
    tile.classList.toggle("none", numbers[group] === 0);
    if (group !== "month") write(tile.querySelector("b"), plain.format(numbers[group]));
  }
  month();
  const urgent = ["stuck", "failed"].filter((group) => numbers[group]);
  document.title = [...urgent.map((group) => `${plain.format(numbers[group])} ${group}`), "Together fine-tuning"].join(" · ");
  const several = shown.accounts.length > 1;
  for (const { parts } of rows.values()) if (parts.of.hidden === several) parts.of.hidden = !several;
  const unlisted = shown.accounts.reduce((sum, account) => sum + account.unlisted, 0);
  element("unlisted").hidden = unlisted === 0;
  write(element("unlisted"), `${plain.format(unlisted)} more are beyond --jobs.retention or --jobs.limit.`);
}

/** What all accounts spent this month, and of which budget if each has one. */
function month() {
  const known = shown.accounts.filter(({ jobs, month_price: price }) => jobs !== null && price !== null);
  const budgets = shown.accounts.map(({ budget }) => budget);
  const spent = known.reduce((sum, account) => sum + account.month_price, 0);
  write(element("spent"), known.length ? dollars.format(spent) : "–");
  const budget = budgets.includes(null) ? null : budgets.reduce((sum, one) => sum + one, 0);
  write(element("budget"), budget === null ? "spent this month" : `of ${dollars.format(budget)} this month`);
  const meter = element("meter");
  meter.hidden = budget === null;
  meter.value = budget === null ? 0 : spent / budget;
  meter.classList.toggle("over", budget !== null && spent > budget);
}

/** Hides the rows that do not match the filter. */
function sift() {
  if (!shown) return;
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const groups = tiles.filter((tile) => tile.ariaPressed === "true").map((tile) => tile.dataset.group);
  let fitting = 0;
  for (const { row, job, words } of rows.values()) {
    const fits = (!groups.length || groups.some((group) => job.groups.includes(group)))
      && wanted.every((word) => words.includes(word));
    if (row.hidden === fits) row.hidden = !fits;
    fitting += fits;
  }
  const all = rows.size;
  const total = `${plain.format(all)} job${all === 1 ? "" : "s"}`;
  write(element("count"), fitting === all ? total : `${plain.format(fitting)} of ${total}`);
  element("filter").hidden = element("tiles").hidden = false;
  element("jobs").hidden = fitting === 0;
  element("empty").hidden = fitting > 0;
  const polled = shown.accounts.some((account) => account.jobs !== null);
  write(element("empty"), all ? "No job matches the filter." : polled ? "There are no jobs." : "No jobs are known yet.");
}

function blankAccount(body) {
  const row = body.insertRow();
  row.setAttribute("role", "row");
  for (const heading of element("accounts").tHead.rows[0].cells) {
    const cell = row.insertCell();
    cell.setAttribute("role", "cell");
    cell.className = heading.className;
    if (row.cells.length > 2) cell.dataset.label = heading.textContent;
  }
  row.cells[0].append(make("bdi"));
  return row;
}

/** Sorts by a column: ascending, then descending, then by attention again. */
function sortBy(key) {
  const again = order.key === key;
  order = again && order.descending ? { key: null, descending: false } : { key, descending: again };
  for (const heading of headings) {
    const direction = order.descending ? "descending" : "ascending";
    heading.parentElement.ariaSort = heading.value === order.key ? direction : "none";
  }
  sort();
}

for (const heading of headings) heading.addEventListener("click", () => sortBy(heading.value));
for (const tile of tiles) {
  tile.addEventListener("click", () => {
    tile.ariaPressed = tile.ariaPressed === "true" ? "false" : "true";
    sift();
  });
}
words.addEventListener("input", sift);
refresh();
