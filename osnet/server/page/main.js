// The page: what is asked, what is shown, what is changed.

import * as answers from "./answers.js";
import * as api from "./api.js";
import { $, ask, isoOf, isolated, make, plural, toast } from "./dom.js";
import * as names from "./names.js";
import * as picture from "./picture.js";
import * as threshold from "./threshold.js";

const LIMIT = 60;
const LISTED = 200;
let about = null;
let view = "people";
let matches = [];
let unnamed = [];
let query = null; // the entry that was searched for
let turn = 0;
const hidden = new Set();

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

/** Run `work` unless a later one has begun; show what goes wrong. */
async function showing(work) {
  turn += 1;
  const mine = turn;
  problem("");
  $("list").classList.add("busy");
  try {
    const show = await work();
    if (mine === turn) show();
  } catch (error) {
    if (mine === turn) problem(error.message);
  } finally {
    if (mine === turn) $("list").classList.remove("busy");
  }
}

function title(text, back) {
  $("answers-title").textContent = text;
  $("back").hidden = !back;
  $("remove-all").hidden = true;
}

async function refresh() {
  about = await api.getJson("/api/gallery");
  $("name").textContent = about.name;
  document.title = `${about.name} · osnet`;
  $("counts").textContent = about.entries ? `${plural(about.identities, "person", "people")}, ${plural(about.entries, "picture", "pictures")}` : "empty";
  const cameras = Object.keys(about.cameras);
  const select = $("filter-form").elements.camera;
  const kept = select.value;
  select.replaceChildren(make("option", { value: "" }, "any"), ...cameras.map((name) => make("option", { value: name }, name)));
  select.value = cameras.includes(kept) ? kept : "";
  $("camera-names").replaceChildren(...cameras.map((name) => make("option", { value: name })));
  $("enrol").hidden = about.read_only;
  picture.limit(about.max_bytes, about.max_pixels);
  threshold.explain(about.calibration, about.entries);
}

function filters() {
  const form = $("filter-form").elements;
  const found = { camera: form.camera.value, identity: form.identity.value, since: isoOf(form.since.value), until: isoOf(form.until.value) };
  const count = Object.values(found).filter(Boolean).length;
  $("filters-on").hidden = !count;
  $("filters-on").textContent = count;
  return found;
}

const actions = () => (about.read_only ? { similar } : { similar, nameEntry, removeEntry, removePerson });

function render() {
  if (view === "unnamed") {
    const left = unnamed.filter((entry) => entry.identity === null && !hidden.has(entry.id));
    $("status").textContent = names.showUnnamed(left, about.unidentified > LISTED, actions());
    $("remove-all").hidden = about.read_only || !left.length;
    return;
  }
  const shown = matches.filter((match) => !hidden.has(match.entry.id));
  $("status").textContent = answers.showAnswers(shown, threshold.value(), actions(), view === "similar" ? query.id : null);
}

function search() {
  const asked = picture.picture();
  if (!asked) return showPeople();
  view = "answers";
  return showing(async () => {
    const found = await api.post("/api/search", { limit: LIMIT, box: asked.box, ...filters() }, asked.file);
    return () => {
      matches = found.matches;
      title("Answers", true);
      render();
      if (innerWidth < 760) $("answers-title").scrollIntoView();
    };
  });
}

/** Search for an entry. */
function similar(entry) {
  view = "similar";
  query = entry;
  return showing(async () => {
    const found = await api.getJson(`/api/entries/${entry.id}/similar`, { limit: LIMIT, ...filters() });
    return () => {
      matches = found.matches;
      title(entry.identity === null ? "Similar to this picture" : `Similar to ${isolated(entry.identity)}`, true);
      render();
      $("answers").focus();
    };
  });
}

function showPeople() {
  view = "people";
  return showing(async () => {
    await refresh();
    const found = about.entries ? await api.getJson("/api/people", { limit: LISTED }) : { people: [], more: false };
    const [first] = about.unidentified ? (await api.getJson("/api/entries", { unnamed: true, limit: 1 })).entries : [];
    const drawn = await api.getJson("/api/drawn");
    return () => {
      $("names").replaceChildren(...found.people.map((person) => make("option", { value: person.identity })));
      title("People", false);
      $("status").textContent = about.entries
        ? answers.showPeople(found.people, found.more, (person) => similar({ id: person.cover, identity: person.identity }), first && { cover: first.id, entries: about.unidentified }, showUnnamed)
        : answers.showWelcome(about.read_only ? null : drawPeople);
      showSamples(drawn);
    };
  });
}

function showUnnamed() {
  view = "unnamed";
  return showing(async () => {
    const found = await api.getJson("/api/entries", { unnamed: true, limit: LISTED });
    return () => {
      unnamed = found.entries;
      title("Not named", true);
      render();
      $("answers").focus();
    };
  });
}

async function showSamples({ samples, enrolled }) {
  $("samples").hidden = !enrolled;
  if (!enrolled || $("sample-list").childElementCount) return;
  const pictures = await Promise.all(samples.map((_, number) => api.getBlob(`/api/drawn/${number}`)));
  $("sample-list").replaceChildren(...pictures.map((blob, number) => {
    const image = make("img", { alt: samples[number] });
    image.src = URL.createObjectURL(blob);
    return make("li", {}, make("button", { type: "button", on: { click: () => picture.take(blob) } }, image));
  }));
}

async function drawPeople(event) {
  event.target.disabled = true;
  event.target.textContent = "Drawing …";
  try {
    await api.post("/api/drawn", {});
    await showPeople();
    toast("Twelve drawn people are enrolled.", { undo: () => change(() => api.remove("/api/entries", { attributes: '{"drawn":true}' })) });
  } catch (error) {
    problem(error.message);
    event.target.disabled = false;
    event.target.textContent = "Try it with drawn people";
  }
}

/** Do something to the gallery, then show how it is. */
async function change(work) {
  try {
    await work();
  } catch (error) {
    problem(error.message);
    hidden.clear();
  }
  await refresh().catch((error) => problem(error.message));
  if (view === "people") await showPeople();
  else if (view === "answers") await search();
  else render();
}

async function nameEntry(entry) {
  const identity = await names.askName(entry);
  if (!identity) return;
  const place = [...document.querySelectorAll(".name")].indexOf(document.activeElement);
  await rename(entry.id, identity);
  ([...document.querySelectorAll(".name")][Math.max(0, place)] ?? $("answers")).focus();
}

/** Give an entry a name, or none, wherever it is shown. */
async function rename(id, identity) {
  await change(async () => {
    const done = await api.patch(`/api/entries/${id}`, { identity });
    [query, ...unnamed, ...matches.map((match) => match.entry)].filter((entry) => entry?.id === id)
      .forEach((entry) => Object.assign(entry, { id: done.id, identity: identity ?? null }));
    if (!identity) return;
    if (![...$("names").options].some((one) => one.value === identity)) $("names").append(make("option", { value: identity }));
    toast(`This is ${isolated(identity)} now.`, { seconds: 8, undo: () => rename(done.id, null) });
  });
}

async function removeUnnamed() {
  const count = plural(about.unidentified, "picture", "pictures");
  if (!(await ask("Remove all that are not named?", `${count} without a name and their features are erased from the gallery.`, "Remove all"))) return;
  later(`${count} removed.`, unnamed.filter((entry) => entry.identity === null).map((entry) => entry.id), (leaving) => api.remove("/api/entries", { unnamed: true }, leaving));
}

async function removeEntry(entry) {
  const who = entry.identity === null ? "this person" : isolated(entry.identity);
  if (!(await ask("Remove this picture?", `The picture of ${who} and its features are erased from the gallery.`, "Remove"))) return;
  later(`Picture of ${who} removed.`, [entry.id], (leaving) => api.remove(`/api/entries/${entry.id}`, {}, leaving));
}

async function removePerson(who) {
  const count = matches.filter((match) => match.entry.identity === who).length;
  if (!(await ask(`Remove ${isolated(who)}?`, `All pictures of ${isolated(who)} (${count} of them are shown here) and their features are erased from the gallery.`, "Remove person"))) return;
  const ids = matches.filter((match) => match.entry.identity === who).map((match) => match.entry.id);
  later(`${isolated(who)} removed.`, ids, (leaving) => api.remove("/api/entries", { identity: who }, leaving));
}

/** Hide entries now and remove them when nobody has undone that: what is erased cannot come back. */
function later(text, ids, work) {
  ids.forEach((id) => hidden.add(id));
  render();
  $("answers").focus();
  toast(text, {
    undo: () => { ids.forEach((id) => hidden.delete(id)); render(); },
    after: (leaving) => change(async () => { await work(leaving); ids.forEach((id) => hidden.delete(id)); matches = matches.filter((match) => !ids.includes(match.entry.id)); }),
  });
}

function openEnrol() {
  $("enrol-form").reset();
  $("enrol-dialog").showModal();
}

async function enrol(event) {
  event.preventDefault();
  const form = $("enrol-form").elements;
  const asked = picture.picture();
  const told = { identity: form.identity.value.trim(), camera: form.camera.value.trim(), time: isoOf(form.time.value), box: asked.box };
  $("enrol-dialog").close();
  await change(async () => {
    const done = await api.post("/api/entries", told, asked.file);
    if (done.new) toast(`${isolated(told.identity)} is enrolled.`, { seconds: 8, undo: () => change(() => api.remove(`/api/entries/${done.id}`, {})) });
    else toast(`${isolated(told.identity)} has this picture already.`);
  });
}

api.onMissingToken((wrong) => {
  const dialog = $("token-dialog");
  $("token-wrong").hidden = !wrong;
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done($("token-form").elements.token.value), { once: true }));
});
picture.listen(search, problem);
$("filter-form").addEventListener("change", () => (view === "answers" ? search() : filters()));
$("filter-form").addEventListener("reset", () => setTimeout(() => (view === "answers" ? search() : filters())));
$("filter-form").addEventListener("submit", (event) => event.preventDefault());
$("enrol").addEventListener("click", openEnrol);
$("enrol-form").addEventListener("submit", enrol);
document.querySelectorAll("[data-close]").forEach((button) => button.addEventListener("click", () => button.closest("dialog").close()));
$("remove-all").addEventListener("click", removeUnnamed);
$("back").addEventListener("click", () => (picture.picture() ? picture.clear() : showPeople()));
threshold.listen(() => view !== "people" && render());
await showPeople();
