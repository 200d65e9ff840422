// The live page: asks the other pages once a second while somebody looks, and shows what they say.
//
// Laws: it asks nothing while the page is hidden or paused; whatever a page says is put in as text, never as markup; an
// element is changed only when what it shows has changed, so that whoever reads or stands in it is not disturbed.
"use strict";

const EVERY_MS = 1000;
const GIVE_UP_MS = 5000;
const MOST_RULES = 100;
// Steps of five seconds in five minutes.
const STEPS = 60;
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
const shown = { generation: null, verdict: null, filter: "", changedAt: 0, updates: 0, answeredAt: null, server: "", fault: "" };
const splits = new Map();

// ---- elements ------------------------------------------------------------------------------------------------------

/** An element with attributes, and what is in it: text or other elements. */
function make(name, attributes = {}, ...inside) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

function draw(name, attributes, ...inside) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...inside);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function set(element, key, value) {
  if (element.getAttribute(key) !== value) element.setAttribute(key, value);
}

/** Puts `children` into `parent` in this order; those that are in their place are not touched, and the focus stays. */
function arrange(parent, children) {
  const stood = document.activeElement;
  children.forEach((child, place) => {
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
  if (stood !== document.activeElement && stood.isConnected) stood.focus({ preventScroll: true });
}

// ---- words ---------------------------------------------------------------------------------------------------------

const MARKS = { ok: ["✓", "good"], warn: ["!", "degraded"], bad: ["✕", "failing"], none: ["", ""] };

/** A state: a mark and a colour for the eyes, a word for the ears. */
function state() {
  const mark = make("span", { class: "mark", "aria-hidden": "true" });
  const word = make("span", { class: "hidden" });
  const text = make("span");
  const element = make("span", {}, mark, text, word);
  return {
    element,
    show(level, label, said = MARKS[level][1]) {
      set(element, "class", level);
      setText(mark, MARKS[level][0]);
      setText(text, label);
      setText(word, said && ` (${said})`);
    },
  };
}

const known = (value) => value !== null && value !== undefined;
const percent = (rate) => (known(rate) ? `${(rate * 100).toFixed(1)} %` : "–");
const rate = (value) => (known(value) ? value.toFixed(value < 10 ? 2 : 1) : "–");
const ms = (value) => (known(value) ? `${value < 10 ? value.toFixed(1) : Math.round(value)} ms` : "–");
const clock = (time) => new Date(time).toLocaleTimeString();

function duration(text) {
  const seconds = parseInt(text, 10);
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = Math.max(0, units.findIndex(([size]) => seconds >= size));
  const parts = units.slice(first, first + 2).map(([size, unit], place) => {
    const count = place === 0 ? Math.floor(seconds / size) : Math.floor((seconds % units[first][0]) / size);
    return `${count} ${unit}`;
  });
  return seconds === 0 ? "0 s" : parts.join(" ");
}

/** Of a few minutes, without seconds that are none. */
const spanText = (seconds) => duration(String(seconds)).replace(" min 0 s", " min");

// ---- one version ---------------------------------------------------------------------------------------------------

const COLUMNS = [
  ["Weight", "weight"], ["Share", "share"], ["Requests/s", "rate"], ["Success", "success"],
  ["Client errors", "clients"], ["p50", "p50"], ["p95", "p95"], ["p99", "p99"], ["Endpoints", "endpoints"],
  ["Last 5 minutes", "spark"],
];
/** What the proxy says of a version, and how it is shown. */
const LEVELS = { good: "ok", degraded: "warn", high: "warn", failing: "bad" };
const levelOf = (word) => LEVELS[word] ?? "none";

function versionRow() {
  const name = make("th", { scope: "row", role: "rowheader" });
  const cells = {};
  const row = make("tr", { role: "row" }, name);
  for (const [label, key] of COLUMNS) {
    cells[key] = make("td", { role: "cell", "data-label": label });
    row.append(cells[key]);
  }
  const share = state();
  const fill = draw("rect", { class: "fill", height: "7", width: "0" });
  const target = draw("line", { class: "target", y1: "0", y2: "7" });
  const gauge = draw("svg", { class: "share", viewBox: "0 0 100 7", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "track", height: "7", width: "100" }), fill, target);
  cells.share.append(make("div", {}, share.element, gauge));
  const success = state();
  cells.success.append(success.element);
  const clients = state();
  cells.clients.append(clients.element);
  const endpoints = state();
  const unwell = make("ul");
  cells.endpoints.append(make("div", {}, endpoints.element, unwell));
  const chart = sparkline();
  cells.spark.append(chart.element);
  return {
    row,
    show(version, sum) {
      setText(name, version.service ? `${version.version} of ${version.service}` : version.version);
      const minute = version.minute;
      setText(cells.weight, known(version.weight) ? String(version.weight) : "–");
      const wanted = known(version.weight) && sum > 0 ? version.weight / sum : null;
      share.show(offTarget(minute, wanted) ? "warn" : "none", percent(minute.share));
      set(fill, "width", String(100 * (minute.share ?? 0)));
      set(target, "visibility", wanted === null ? "hidden" : "visible");
      for (const end of ["x1", "x2"]) set(target, end, String(100 * (wanted ?? 0)));
      setText(cells.rate, rate(minute.qps));
      const states = version.states;
      success.show(levelOf(states.success), percent(minute.success_rate));
      const high = states.client_errors;
      clients.show(levelOf(high), `${percent(minute.client_error_rate)}${high ? ` ${high}` : ""}`,
        high ? "" : undefined);
      for (const key of ["p50", "p95", "p99"]) setText(cells[key], ms(minute[`${key}_ms`]));
      showEndpoints(endpoints, unwell, version.endpoints, states.endpoints);
      chart.show(version.steps);
    },
  };
}

/** Weights are kept exactly: so many requests more or less are no chance, but right after a change they are yesterday's. */
function offTarget(minute, wanted) {
  const settled = Date.now() - shown.changedAt > 65000;
  return settled && wanted !== null && minute.requests >= 100 && Math.abs(minute.share - wanted) > 0.05;
}

function showEndpoints(summary, list, endpoints, word) {
  const all = endpoints.healthy + endpoints.ejected + endpoints.failed_check;
  summary.show(levelOf(word), all === 0 ? "none" : `${endpoints.healthy} of ${all} healthy`);
  const lines = (endpoints.unwell ?? []).map((one) => `${one.address} ${one.state.replace("_", " ")}`);
  if (list.dataset.shown !== lines.join("\n")) {
    list.dataset.shown = lines.join("\n");
    list.replaceChildren(...lines.map((line) => make("li", {}, line)));
  }
}

/** Requests a second as a line; on the ground bars of what the server failed, and on them those of client errors. */
function sparkline() {
  const area = draw("path", { class: "area" });
  const line = draw("path", { class: "line" });
  const errors = draw("path", { class: "errors" });
  const clients = draw("path", { class: "clients" });
  const svg = draw("svg", { class: "spark", viewBox: `0 0 ${STEPS} 32`, preserveAspectRatio: "none", role: "img" },
    area, clients, errors, line);
  const peak = make("small");
  let drawn = null;
  return {
    element: make("div", {}, svg, peak),
    show(steps) {
      if (drawn === JSON.stringify(steps)) return;
      drawn = JSON.stringify(steps);
      const rates = (steps?.requests ?? []).map((count) => count / steps.seconds);
      const most = Math.max(...rates, 0);
      const first = STEPS - rates.length;
      const y = (value) => (most > 0 ? 31 - (29 * value) / most : 31).toFixed(1);
      const points = rates.map((value, place) => `${first + place + 0.5} ${y(value)}`);
      const path = points.length > 1 ? `M${points.join("L")}` : "";
      set(line, "d", path);
      set(area, "d", path && `${path}L${STEPS - 0.5} 32L${first + 0.5} 32Z`);
      // A bar that is there is seen, however short it would be.
      const top = (count, ground) => Math.min(ground - 4, y(count / steps.seconds) - (32 - ground));
      const bar = (place, ground, height) => `M${first + place} ${ground}V${height}h1V${ground}Z`;
      const failed = steps?.server_errors ?? [];
      const blamed = steps?.client_errors ?? [];
      const grounds = failed.map((count) => (count > 0 ? top(count, 32) : 32));
      set(errors, "d", failed.map((count, place) => (count > 0 ? bar(place, 32, grounds[place]) : "")).join(""));
      set(clients, "d", blamed.map((count, place) =>
        (count > 0 ? bar(place, grounds[place], Math.max(0, top(count, grounds[place]))) : "")).join(""));
      const [failedSum, blamedSum] = [failed, blamed].map((counts) => counts.reduce((sum, count) => sum + count, 0));
      const span = steps?.seconds * rates.length;
      const young = rates.length < STEPS ? [`${spanText(span)} known`] : [];
      setText(peak, rates.length === 0 ? "nothing known yet" : [...young, `peak ${rate(most)}/s`, ...(failedSum > 0 ? [`${failedSum} failed`] : []),
        ...(blamedSum > 0 ? [`${blamedSum} client errors`] : [])].join(", "));
      const now = rates.at(-1);
      set(svg, "aria-label", rates.length === 0 ? "nothing is known yet"
        : `requests a second in the last ${spanText(span)}: now ${rate(now)}, at most ${rate(most)}; ${failedSum} failed by the server, ${blamedSum} client errors`);
    },
  };
}

// ---- all versions --------------------------------------------------------------------------------------------------

function splitTable(split) {
  const rule = split.rule === null ? "No rule: all versions share" : split.rule;
  const head = make("tr", { role: "row" }, make("th", { scope: "col", role: "columnheader" }, "Version"));
  for (const [label, key] of COLUMNS) {
    head.append(make("th", { scope: "col", role: "columnheader", ...(key === "spark" ? { class: "left" } : {}) }, label));
  }
  const body = make("tbody", { role: "rowgroup" });
  const table = make("table", { role: "table" },
    make("caption", {}, make("b", {}, rule), " ", make("span", {}, split.service)),
    make("thead", { role: "rowgroup" }, head), body);
  const rows = new Map();
  return {
    element: make("div", { class: "scroll", role: "region", "aria-label": `${rule}, ${split.service}` }, table),
    show(versions) {
      const sum = versions.every((one) => known(one.weight)) ? versions.reduce((all, one) => all + one.weight, 0) : 0;
      const wanted = versions.map((version) => {
        const key = `${version.service ?? ""} ${version.version}`;
        if (!rows.has(key)) rows.set(key, versionRow());
        rows.get(key).show(version, sum);
        return [key, rows.get(key).row];
      });
      const keys = new Set(wanted.map(([key]) => key));
      for (const key of rows.keys()) if (!keys.has(key)) rows.delete(key);
      arrange(body, wanted.map(([, row]) => row));
    },
    settle() {
      // Whoever has no mouse scrolls by keys: only what scrolls takes the focus.
      if (this.element.scrollWidth > this.element.clientWidth) set(this.element, "tabindex", "0");
      else this.element.removeAttribute("tabindex");
    },
  };
}

function showSplits(view, filter) {
  const wanted = view.splits.map((split) => {
    const key = `${split.service} ${split.rule}`;
    if (!splits.has(key)) splits.set(key, splitTable(split));
    splits.get(key).show(split.versions);
    return key;
  });
  const keys = new Set(wanted);
  for (const key of splits.keys()) if (!keys.has(key)) splits.delete(key);
  arrange($("splits"), wanted.map((key) => splits.get(key).element));
  splits.forEach((split) => split.settle());
  const nothing = view.splits.length > 0 ? "" : filter ? `No service or rule matches “${filter}”.` : "No rule splits here.";
  setText($("left-out"), view.left_out > 0 ? `${view.left_out} more rules, with no more trouble and no more traffic: say above which ones.` : nothing);
}

// ---- configurations ------------------------------------------------------------------------------------------------

function place(diagnostic) {
  const { file, line, column } = diagnostic;
  return [file, ...(line > 0 ? [line] : []), ...(line > 0 && column > 0 ? [column] : [])].join(":");
}

function verdictText(verdict) {
  const at = clock(verdict.time);
  if (verdict.result === "accepted") return ["ok", `${at} generation ${verdict.generation} is in force`];
  if (verdict.result === "restored") return ["ok", `${at} the files hold again what is in force, generation ${verdict.generation}`];
  return ["bad", `${at} a configuration was refused; generation ${verdict.generation} stays in force`];
}

function verdictItem(verdict) {
  const [level, text] = verdictText(verdict);
  const mark = state();
  mark.show(level, text);
  const lines = verdict.diagnostics.slice(0, 20).map((one) =>
    make("li", {}, make("code", {}, `${place(one)}: ${one.severity}[${one.code}] ${one.path ? `${one.path}: ` : ""}${one.reason}${one.help ? ` (${one.help})` : ""}`)));
  const more = verdict.diagnostics.length - lines.length + (verdict.left_out ?? 0);
  if (more > 0) lines.push(make("li", {}, `and ${more} more`));
  if (verdict.reason) lines.push(make("li", {}, make("code", {}, verdict.reason)));
  return make("li", {}, mark.element, ...(lines.length > 0 ? [make("ul", {}, ...lines)] : []));
}

function showVerdicts(verdicts) {
  const last = verdicts.at(-1);
  if (!last || shown.verdict === JSON.stringify(verdicts)) return;
  shown.verdict = JSON.stringify(verdicts);
  const [level, text] = verdictText(last);
  const why = last.diagnostics.find((one) => one.severity === "error");
  const reason = last.result === "refused" ? last.reason ?? (why && `${place(why)}: ${why.reason}`) : null;
  const mark = state();
  mark.show(level, reason ? `${text}. ${reason}` : text);
  set($("verdict"), "class", level);
  $("verdict").replaceChildren(mark.element);
  $("verdicts").replaceChildren(...verdicts.toReversed().map(verdictItem));
}

// ---- rules ---------------------------------------------------------------------------------------------------------

function sharesText(choice) {
  if (choice.answer) return `answered here: ${choice.answer}`;
  const shares = choice.versions.map((share) => {
    const version = share.version ?? "all versions";
    return `${Number(share.percent.toFixed(2))} % ${version}${share.service ? ` of ${share.service}` : ""}`;
  });
  return shares.join(", ");
}

function ruleItem(rule) {
  const when = rule.when.length === 0 ? "every request" : rule.when.join("; ");
  const more = [...(rule.policies ?? []), ...rule.versions.flatMap((share) =>
    (share.policies ?? []).map((line) => `${share.version ?? "all versions"}: ${line}`))];
  return make("li", { class: "rule" }, make("b", {}, rule.name), " ", make("small", {}, rule.origin),
    make("div", {}, `${when} → ${sharesText(rule)}`),
    ...(more.length > 0 ? [make("ul", {}, ...more.map((line) => make("li", {}, line)))] : []));
}

function showRules(view, filter) {
  const hosts = view.hosts.flatMap((host) => [
    make("h3", {}, `${host.host} on ${host.listeners.join(", ")}`),
    make("ol", {}, ...host.rules.map(ruleItem)),
  ]);
  if (view.left_out > 0) hosts.push(make("p", { class: "note" }, `${view.left_out} more rules: say above which ones.`));
  if (hosts.length === 0) hosts.push(make("p", { class: "note" }, filter ? `None of a service or rule that matches “${filter}”.` : "None."));
  $("rules").replaceChildren(...hosts);
  showListeners(view.listeners);
}

/** Which of them a request comes to is asked where there is a choice; else the URL's port says, or it is the first. */
function showListeners(names) {
  const select = $("listener");
  const options = [["", "by the URL's port, or the first"], ...names.map((name) => [name, name])];
  const wanted = JSON.stringify(options);
  if (select.dataset.shown === wanted) return;
  const chosen = names.includes(select.value) ? select.value : "";
  select.dataset.shown = wanted;
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  select.value = chosen;
  select.parentElement.hidden = names.length < 2;
}

// ---- explain -------------------------------------------------------------------------------------------------------

function explanation(report) {
  const choice = report.choice;
  const verdict = state();
  verdict.show(choice ? "ok" : "bad", choice ? `${choice.name} (${choice.origin}): ${sharesText(choice)}` : "no rule matches: 404, flag NR");
  const tried = report.tried.map((one) => {
    const mark = make("span", { class: "mark", "aria-hidden": "true" }, one.why_not ? "–" : "✓");
    return make("li", { class: "rule" }, mark, make("b", {}, one.name), " ", make("small", {}, one.origin), ` ${one.why_not ?? "matches"}`);
  });
  const targets = report.targets.map((target) => {
    const to = target.location ?? target.answer ?? target.endpoints.map((one) => one.address).join(", ");
    return make("li", {}, `${target.version ?? "all versions"}: ${to}`);
  });
  const lines = [...(choice?.policies ?? [])];
  if (report.location) lines.push(`location: ${report.location}`);
  if (report.sticks) lines.push(report.sticks.key === null ? "it has none of the keys: the schedule chooses"
    : `key ${JSON.stringify(report.sticks.key)} sticks to ${report.sticks.version ?? "all versions"}`);
  return [
    make("p", {}, verdict.element),
    make("p", { class: "note" }, `${report.method} ${report.path}, ${report.protocol}, host ${report.host}, listener ${report.listener} (${report.mode}), caller ${report.caller ?? "unknown"}`),
    ...(lines.length > 0 ? [make("ul", {}, ...lines.map((line) => make("li", {}, line)))] : []),
    make("h3", {}, "Rules tried"), make("ol", {}, ...tried),
    ...(targets.length > 0 ? [make("h3", {}, "Where it may go"), make("ul", {}, ...targets)] : []),
  ];
}

async function explain(event) {
  event.preventDefault();
  const asked = new URLSearchParams(new FormData($("explain")));
  const answer = $("explained");
  try {
    answer.replaceChildren(...explanation(await get(`explain?${asked}`)));
  } catch (error) {
    const mark = state();
    mark.show("bad", error.message);
    answer.replaceChildren(make("p", {}, mark.element));
  }
  answer.hidden = false;
  answer.focus();
}

// ---- asking --------------------------------------------------------------------------------------------------------

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(GIVE_UP_MS), cache: "no-store" });
  if (!response.ok) {
    const error = new Error((await response.text()).trim() || `status ${response.status}`);
    throw Object.assign(error, { refused: response.status === 400 });
  }
  return response.json();
}

/** With the field's filter; one that is none is told beside it, and all is shown. */
async function ask() {
  const filter = $("filter").value.trim();
  try {
    return { ...await askFor(filter), refusal: "" };
  } catch (error) {
    if (!error.refused || !filter) throw error;
    return { ...await askFor(""), refusal: error.message };
  }
}

async function askFor(filter) {
  const which = `limit=${MOST_RULES}${filter ? `&filter=${encodeURIComponent(filter)}` : ""}`;
  const [view, dump, server] = await Promise.all([
    get(`splits?minutes=5&sort=trouble&${which}`), get("config_dump?verdicts"), get("server_info"),
  ]);
  const isOther = view.generation !== shown.generation || filter !== shown.filter;
  return { filter, view, dump, server, rules: isOther ? await get(`rules?${which}`) : null };
}

function show({ filter, refusal, view, dump, server, rules }) {
  if (rules) {
    showRules(rules, filter);
    if (shown.generation !== null && view.generation !== shown.generation) shown.changedAt = Date.now();
    shown.generation = view.generation;
    shown.filter = filter;
  }
  set($("filter"), "aria-invalid", String(refusal !== ""));
  setText($("refusal"), refusal);
  setText($("generation"), String(view.generation));
  setText($("node"), server.node.id || "–");
  setText($("uptime"), duration(server.uptime_current_epoch));
  shown.server = server.state;
  showVerdicts(dump.verdicts);
  showSplits(view, filter);
}

// ---- how old it is -------------------------------------------------------------------------------------------------

const freshness = state();
freshness.show("none", "…");
$("state").replaceChildren(freshness.element);

/** What the proxy says of itself, or since when nothing is new. It is read out, so it changes with the state alone. */
function tell() {
  const at = shown.answeredAt === null ? null : clock(shown.answeredAt);
  const age = isPaused() ? "paused" : shown.fault ? "gone" : "live";
  set(document.body, "data-age", age);
  if (age === "paused") freshness.show("warn", at ? `paused at ${at}` : "paused", "");
  else if (age === "gone") freshness.show("bad", at ? `no answer since ${at}` : "no answer", "");
  else if (shown.server) freshness.show(shown.server === "LIVE" ? "ok" : "warn", shown.server);
  const why = age === "gone" ? `No answer: ${shown.fault}. ` : age === "paused" ? "Paused. " : "";
  setText($("old"), why && at ? `${why}What is shown here is of ${at}.` : why.trim());
}

let timer = null;
let asking = false;

async function turn() {
  clearTimeout(timer);
  if (asking || isQuiet()) return;
  asking = true;
  try {
    const answer = await ask();
    // Who has paused it meanwhile reads what stands there.
    if (!isQuiet()) {
      show(answer);
      Object.assign(shown, { fault: "", answeredAt: Date.now(), updates: shown.updates + 1 });
      document.body.dataset.updates = String(shown.updates);
    }
  } catch (error) {
    shown.fault = error.message;
  }
  tell();
  asking = false;
  if (!isQuiet()) timer = setTimeout(turn, EVERY_MS);
}

const isPaused = () => $("pause").getAttribute("aria-pressed") === "true";
const isQuiet = () => document.hidden || isPaused();

$("pause").addEventListener("click", () => {
  set($("pause"), "aria-pressed", String(!isPaused()));
  // When it goes on, its first answer says so.
  if (isPaused()) tell();
  turn();
});
$("filter").addEventListener("input", turn);
$("explain").addEventListener("submit", explain);
document.addEventListener("visibilitychange", turn);
turn();
