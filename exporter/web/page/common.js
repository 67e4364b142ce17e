"use strict";
// What both pages share: requesting JSON again and again, and writing it. Whatever the JSON has becomes text, never
// markup.

const REFRESH = 5_000; // milliseconds
const PATIENCE = 20_000; // milliseconds for an answer
const element = (id) => document.getElementById(id);
const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 15 });
const dollars = new Intl.NumberFormat("en", { style: "currency", currency: "USD" });
const moment = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

const statuses = new Map(); // by name: the phase, and whether it is a failure
let ahead = 0; // milliseconds that the exporter's clock is ahead of this one
let silentSince = null; // unix seconds since when the exporter has not answered

/** Requests `url` now and then. `show` gets what is new, `tick` follows each attempt, and `gone` a 404. */
function follow(url, { show, tick, gone }) {
  let etag = null;
  let asking = false;

  async function refresh() {
    if (asking || document.hidden) return;
    asking = true;
    let news = null;
    try {
      const answer = await fetch(url, { cache: "no-cache", signal: AbortSignal.timeout(PATIENCE) });
      if (!answer.ok && answer.status !== 404) throw new Error(`HTTP ${answer.status}`);
      const tag = answer.headers.get("ETag");
      if (answer.ok && (tag === null || tag !== etag)) news = await answer.json();
      if (!answer.ok) gone?.();
      const skew = Date.parse(answer.headers.get("Date")) - Date.now();
      ahead = Math.abs(skew) > 2_000 ? skew : 0; // the header has no fractions of a second
      etag = tag;
      silentSince = null;
    } catch {
      silentSince ??= now();
    } finally {
      asking = false;
    }
    if (news) {
      for (const status of news.statuses) statuses.set(status.name, status);
      write(element("version"), news.version);
      show(news);
    }
    tick();
  }

  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, REFRESH);
  return refresh;
}

/** Shows lines of text as problems, each after the name of its account, if it has one. */
function report(lines) {
  const all = silentSince === null ? lines : [
    [null, `The exporter has not answered since ${clock(silentSince)}. This page shows what it said then.`],
    ...lines,
  ];
  const box = element("problems");
  const said = JSON.stringify(all);
  if (box.dataset.said === said) return; // so that a screen reader does not repeat it
  box.dataset.said = said;
  box.replaceChildren(...all.map(([name, text]) => {
    const line = make("p");
    if (name !== null) line.append("Account ", make("bdi", "", name), ": ");
    line.append(text);
    return line;
  }));
}

function make(name, kind = "", text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A status with its mark; its colour and shape come from the phase. */
function paint(node, name) {
  const { phase, failed } = statuses.get(name);
  node.dataset.kind = failed ? "failed" : phase;
  write(node, name.replaceAll("_", " "));
}

/** Why a job needs attention: "no progress for 5 d". */
function badge(node, mark, at) {
  if (node.hidden === Boolean(mark)) node.hidden = !mark;
  if (!mark) return;
  if (node.dataset.kind !== mark.kind) node.dataset.kind = mark.kind;
  write(node, mark.words.replace("{}", duration(at - mark.since)));
}

/** A name for a tooltip or the title of the window, where only removing them disarms the controls of text direction. */
function flat(name) {
  return name.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "");
}

/** A link out, only to the web: the address is whatever the API says. */
function linkTo(address, text) {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (url?.protocol !== "https:" && url?.protocol !== "http:") return null;
  const anchor = make("a", "", text);
  anchor.href = url.href;
  anchor.target = "_blank";
  anchor.rel = "noopener noreferrer";
  return anchor;
}

function stamp(node, time, phrase, at, otherwise = "") {
  const known = time !== undefined && time !== null;
  write(node, known ? phrase(time, at) : otherwise);
  const title = known ? clock(time) : "";
  if (node.title !== title) node.title = title;
}

const ago = (time, at) => `${duration(at - time)} ago`;
const age = (time, at) => duration(at - time);
const until = (time, at) => (time - at >= 1 ? `in ${duration(time - at)}` : "due");
const percent = (ratio) => `${Math.floor(ratio * 100)}%`;

function duration(seconds) {
  const units = [[86_400, "d"], [3_600, "h"], [60, "min"]];
  const [length, unit] = units.find(([length]) => seconds >= 1.5 * length) ?? [1, "s"];
  return `${plain.format(Math.max(0, Math.round(seconds / length)))} ${unit}`;
}

function now() {
  return (Date.now() + ahead) / 1_000;
}

function clock(time) {
  const date = new Date(time * 1_000);
  return Number.isNaN(date.getTime()) ? "" : moment.format(date);
}
