"use strict";
// Shows jobs.json and asks for it again and again. What it says becomes text, never markup; rows that did not change are
// not touched, so that focus, selection and scroll position stay.

const REFRESH = 5_000; // milliseconds
const PATIENCE = 20_000; // milliseconds for an answer
const LEEWAY = 120; // seconds that a poll may be late
const STATUSES = [
  "running", "compressing", "uploading", "queued", "pending", "cancel_requested", "completed", "error", "user_error",
  "cancelled", "unknown",
];
const ENDED = new Set(["completed", "error", "user_error", "cancelled"]);

const element = (id) => document.getElementById(id);
const words = element("words");
const dollars = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

const rows = new Map(); // by account and id: the row's element and parts, its job, the job's JSON, what the filter reads
const chips = new Map(); // by status: the label, its checkbox and its count
let shown = null; // what jobs.json said last
let etag = null;
let ahead = 0; // milliseconds that the exporter's clock is ahead of this one
let silentSince = null;
let asking = false;

async function refresh() {
  if (asking || document.hidden) return;
  asking = true;
  let news = null;
  try {
    const answer = await fetch("/jobs.json", { cache: "no-cache", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const tag = answer.headers.get("ETag");
    if (tag === null || tag !== etag) news = await answer.json();
    const skew = Date.parse(answer.headers.get("Date")) - Date.now();
    ahead = Math.abs(skew) > 2_000 ? skew : 0; // the header has no parts of seconds
    etag = tag;
    silentSince = null;
  } catch {
    silentSince ??= now();
  } finally {
    asking = false;
  }
  if (news) show(news);
  tick();
}

function show(news) {
  shown = news;
  write(element("version"), news.version);
  const focused = document.activeElement;
  const stale = new Set(rows.keys());
  const wanted = news.jobs.map((job) => {
    const key = JSON.stringify([job.account, job.id]);
    stale.delete(key);
    return update(key, job);
  });
  for (const key of stale) {
    rows.get(key).row.remove();
    rows.delete(key);
  }
  arrange(wanted);
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  count();
  sift();
}

/** Puts the rows in order; one that went elsewhere is taken out first, lest all between move in its stead. */
function arrange(wanted) {
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

function update(key, job) {
  const said = JSON.stringify(job);
  let entry = rows.get(key);
  if (entry?.said === said) return entry;
  if (!entry) {
    entry = create();
    rows.set(key, entry);
  }
  entry.job = job;
  entry.said = said;
  entry.words = [job.id, job.account, job.model, job.suffix, job.output].join("\n").toLowerCase();
  const { row, parts } = entry;
  const bar = parts.progress;
  row.classList.toggle("ended", ENDED.has(job.status));
  parts.status.dataset.status = job.status;
  write(parts.status, label(job.status));
  write(parts.model, job.model ?? "unknown");
  parts.model.title = job.model ?? "";
  write(parts.id, job.id);
  write(parts.account, job.account);
  write(parts.suffix, job.suffix ?? "");
  parts.suffix.title = job.suffix ?? "";
  bar.hidden = job.progress === undefined || job.place !== undefined;
  if (!bar.hidden) bar.value = job.progress;
  write(parts.done, bar.hidden ? place(job) : `${Math.floor(job.progress * 100)} %`);
  write(parts.epochs, job.epochs === undefined ? "" : `${job.epochs_completed ?? "–"} / ${job.epochs}`);
  write(parts.price, job.price === undefined ? "" : dollars.format(job.price));
  link(parts.run, job.wandb);
  return entry;
}

function create() {
  const row = element("row").content.firstElementChild.cloneNode(true);
  const parts = {};
  for (const part of row.getElementsByTagName("*")) parts[part.className || part.localName] = part;
  return { row, parts };
}

function place(job) {
  return job.place ? `place ${job.place} in queue` : "";
}

/** A link to the run on W&B; only one to the web, as the address is whatever the API says. */
function link(cell, address) {
  const url = address && URL.canParse(address) ? new URL(address) : null;
  if (url?.protocol !== "https:" && url?.protocol !== "http:") {
    cell.replaceChildren();
  } else if (cell.firstElementChild?.href !== url.href) {
    const anchor = document.createElement("a");
    anchor.href = url.href;
    anchor.textContent = "run";
    anchor.target = "_blank";
    anchor.rel = "noopener noreferrer";
    cell.replaceChildren(anchor);
  }
}

/** What changes by time alone. */
function tick() {
  if (shown) {
    const time = now();
    for (const { parts, job } of rows.values()) {
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
    const [name, health, good, jobs] = row.cells;
    write(name.firstElementChild, account.name);
    write(health, account.health);
    stamp(good, account.last_good, ago, time, "never");
    write(jobs, String(account.jobs ?? "unknown"));
  });
  while (body.rows.length > shown.accounts.length) body.deleteRow(-1);
}

function problems() {
  const lines = silentSince === null ? [] : [
    [null, `The exporter has not answered since ${clock(silentSince)}. What is shown here is as it was then.`],
  ];
  for (const { name, up, health, last, last_good: good, interval } of shown?.accounts ?? []) {
    const since = good ? `What is shown of it is from ${clock(good)}.` : "There has been no good poll yet.";
    if (up === false) lines.push([name, `the last poll ${health}. ${since}`]);
    else if (up && silentSince === null && now() > last + (interval ?? 0) + LEEWAY) lines.push([name, `the next poll is overdue. ${since}`]);
  }
  const box = element("problems");
  const said = JSON.stringify(lines);
  if (box.dataset.said === said) return; // what is the same is not read out again
  box.dataset.said = said;
  box.replaceChildren(...lines.map(([name, text]) => {
    const line = document.createElement("p");
    if (name !== null) {
      const isolated = document.createElement("bdi");
      isolated.textContent = name;
      line.append("Account ", isolated, ": ");
    }
    line.append(text);
    return line;
  }));
}

function count() {
  const counts = new Map();
  for (const { status } of shown.jobs) counts.set(status, (counts.get(status) ?? 0) + 1);
  for (const [status, chip] of chips) {
    const jobs = counts.get(status) ?? 0;
    chip.label.hidden = jobs === 0 && !chip.box.checked;
    write(chip.count, String(jobs));
  }
  const several = shown.accounts.length > 1;
  for (const { parts } of rows.values()) if (parts.of.hidden === several) parts.of.hidden = !several;
  const unlisted = shown.accounts.reduce((sum, account) => sum + account.unlisted, 0);
  element("unlisted").hidden = unlisted === 0;
  write(element("unlisted"), `${unlisted.toLocaleString("en")} more are beyond --jobs.retention or --jobs.limit.`);
}

/** Hides the rows that do not fit the filter. */
function sift() {
  if (!shown) return;
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const statuses = new Set([...chips].filter(([, chip]) => chip.box.checked).map(([status]) => status));
  let fitting = 0;
  for (const { row, job, words } of rows.values()) {
    const fits = (!statuses.size || statuses.has(job.status)) && wanted.every((word) => words.includes(word));
    if (row.hidden === fits) row.hidden = !fits;
    fitting += fits;
  }
  const all = rows.size;
  const total = `${all.toLocaleString("en")} job${all === 1 ? "" : "s"}`;
  write(element("count"), fitting === all ? total : `${fitting.toLocaleString("en")} of ${total}`);
  element("filter").hidden = false;
  element("jobs").hidden = fitting === 0;
  element("empty").hidden = fitting > 0;
  const polled = shown.accounts.some((account) => account.jobs !== null);
  write(element("empty"), all ? "No job fits the filter." : polled ? "There are no jobs." : "No jobs are known yet.");
}

function blankAccount(body) {
  const row = body.insertRow();
  row.setAttribute("role", "row");
  for (const kind of ["", "", "", "number"]) {
    const cell = row.insertCell();
    cell.setAttribute("role", "cell");
    cell.className = kind;
  }
  row.cells[0].append(document.createElement("bdi"));
  return row;
}

function addChip(status) {
  const label_ = document.createElement("label");
  const box = document.createElement("input");
  const name = document.createElement("span");
  const count = document.createElement("b");
  label_.className = "chip";
  label_.hidden = true;
  box.type = "checkbox";
  box.value = status;
  box.addEventListener("change", sift);
  name.className = "status";
  name.dataset.status = status;
  name.textContent = label(status);
  label_.append(box, name, " ", count);
  element("statuses").append(label_);
  chips.set(status, { label: label_, box, count });
}

function label(status) {
  return status.replace("_", " ");
}

function stamp(node, time, phrase, at, otherwise = "") {
  write(node, time === undefined || time === null ? otherwise : phrase(time, at));
  const title = time === undefined || time === null ? "" : clock(time);
  if (node.title !== title) node.title = title;
}

const ago = (time, at) => `${duration(at - time)} ago`;
const age = (time, at) => duration(at - time);
const until = (time, at) => (time - at >= 1 ? `in ${duration(time - at)}` : "due");

function duration(seconds) {
  const units = [[86_400, "d"], [3_600, "h"], [60, "min"]];
  const [length, unit] = units.find(([length]) => seconds >= 1.5 * length) ?? [1, "s"];
  const number = Math.max(0, Math.round(seconds / length));
  return number > 9_999 ? "ages" : `${number} ${unit}`;
}

function now() {
  return (Date.now() + ahead) / 1_000;
}

function clock(time) {
  const date = new Date(time * 1_000);
  return Number.isNaN(date.getTime()) ? "" : moment.format(date);
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

STATUSES.forEach(addChip);
words.addEventListener("input", sift);
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, REFRESH);
refresh();
