"use strict";
// Shows job.json, for the account and the id in the address of this page.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 4; // percent of the plot above and below the curves
const ago_or_until = (time, at) => (time > at ? until(time, at) : ago(time, at));
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

let job = null;
let missing = false;

const refresh = follow(`job.json${location.search}`, { show, tick, gone: () => { missing = true; } });

function show(news) {
  job = news;
  missing = false;
  const name = job.suffix ?? job.model ?? job.id;
  write(element("title"), name);
  document.title = [flat(name), job.status.replaceAll("_", " "), "Together fine-tuning"].join(" · ");
  write(element("id"), job.id);
  paint(element("status"), job.status);
  element("links").replaceChildren(...job.links.map(({ name, url }) => linkTo(url, name)).filter(Boolean));
  element("failure").hidden = !job.failure;
  write(element("failure").querySelector("bdi"), job.failure ?? "");
  element("sections").replaceChildren(...job.sections.filter(({ figures }) => figures.length).map(section));
  element("events").replaceChildren(...job.events.map(line));
  element("log").hidden = !job.events.length;
  plot(job.curves);
}

function section({ title, figures }) {
  const list = make("dl");
  for (const [label, kind, value] of figures) {
    const data = make("dd");
    data.append(figure(kind, value));
    list.append(make("dt", "", label), data);
  }
  const made = make("section");
  made.append(make("h2", "", title), list);
  return made;
}

function figure(kind, value) {
  switch (kind) {
    case "time": return timed(value);
    case "usd": return dollars.format(value);
    case "number": return plain.format(value);
    case "bytes": return size(value);
    case "of": return value.map((one) => plain.format(one)).join(" of ");
    default: return make("bdi", "", String(value));
  }
}

function size(bytes) {
  const units = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];
  const [length, unit] = units.find(([length]) => bytes >= length) ?? [1, "B"];
  return `${short.format(bytes / length)} ${unit}`;
}

function timed(time) {
  const made = make("time");
  made.dataset.time = time;
  return made;
}

function line({ type, level, time, message }) {
  const made = make("li");
  made.dataset.level = level;
  const kind = make("bdi", "type", type.replaceAll("_", " "));
  made.append(time === null ? make("time") : timed(time), kind, make("bdi", "message", message));
  return made;
}

/** What changes with time alone. */
function tick() {
  if (job) {
    const time = now();
    badge(element("badge"), job.mark, time);
    for (const node of document.querySelectorAll("time[data-time]")) {
      stamp(node, Number(node.dataset.time), ago_or_until, time);
      const whole = node.textContent.replaceAll(" ", "\u00a0"); // so that no line breaks in it
      if (node.closest("dd")) write(node, `${clock(Number(node.dataset.time))} (${whole})`);
    }
  }
  report(missing ? [[null, "The exporter does not know this job: it may have been deleted."]] : []);
}

/** Draws the curves over a common range; a value that is no number is a gap. */
function plot(curves) {
  const named = Object.entries(curves);
  const points = named.flatMap(([, curve]) => curve);
  const values = points.map(([, value]) => value).filter((value) => value !== null);
  element("plot").hidden = !points.length;
  if (!points.length) return;
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const [first, last] = [Math.min(...points.map(([step]) => step)), Math.max(...points.map(([step]) => step))];
  const x = (step) => (100 * (step - first)) / (last - first || 1);
  const y = (value) => 100 - MARGIN - ((100 - 2 * MARGIN) * (value - low)) / (high - low || 1);
  const svg = document.querySelector("#plot svg");
  svg.replaceChildren(...named.map(([name, curve]) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", pathOf(curve, x, y));
    path.dataset.name = name;
    return path;
  }));
  document.querySelector("#plot figcaption").replaceChildren(...named.map(([name, curve]) => {
    const newest = curve.at(-1)[1];
    const made = make("span", "", `${name} ${newest === null ? "not a number" : short.format(newest)}`);
    made.dataset.name = name;
    return made;
  }));
  write(element("top"), short.format(high));
  write(element("bottom"), short.format(low));
  write(element("steps"), `steps ${plain.format(first)} to ${plain.format(last)}`);
}

function pathOf(curve, x, y) {
  let drawing = false;
  return curve.map(([step, value]) => {
    if (value === null) {
      drawing = false;
      return "";
    }
    const command = drawing ? "L" : "M";
    drawing = true;
    return `${command}${x(step).toFixed(2)} ${y(value).toFixed(2)}`;
  }).join("");
}

refresh();
