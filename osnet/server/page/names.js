// Pictures of people who are not named: the list of them, and the dialog that names one.

import { getJson, showThumbnail } from "./api.js";
import { $, make, plural, timeText } from "./dom.js";

const SUGGESTED = 3;

/** What a picture without a name is called where it is read aloud. */
const called = (entry) => `picture without a name${entry.camera === null ? "" : `, camera ${entry.camera}`}`;

/** Show pictures that are not named; `more` of them are not listed. */
export function showUnnamed(entries, more, actions) {
  $("list").replaceChildren(make("ul", { className: "people unnamed" }, ...entries.map((entry) => {
    const frame = make("div", { className: "frame" });
    showThumbnail(frame, entry.id, "");
    return make("li", {},
      make("button", { type: "button", className: "look", "aria-label": `Search for the ${called(entry)}`, on: { click: () => actions.similar(entry) } }, frame),
      make("span", { className: "quiet" }, entry.camera ?? "camera not known"),
      make("span", { className: "quiet" }, timeText(entry.time) || "time not known"),
      actions.nameEntry && make("div", { className: "row" },
        make("button", { type: "button", className: "plain name", "aria-label": `Name the ${called(entry)}`, on: { click: () => actions.nameEntry(entry) } }, "Name"),
        make("button", { type: "button", className: "plain remove", "aria-label": `Remove the ${called(entry)}`, on: { click: () => actions.removeEntry(entry) } }, "Remove")));
  })));
  if (!entries.length) return "Every picture has a name.";
  const count = plural(entries.length, "picture", "pictures");
  return `${more ? "The first " : ""}${count} of people who have no name here. Choose one to see who looks like it.`;
}

/** Ask for the name of a picture: a text, or null. Named people who look like it are offered. */
export function askName(entry) {
  const dialog = $("name-dialog");
  const field = $("name-form").elements.identity;
  $("name-form").reset();
  $("name-like").hidden = true;
  showThumbnail($("name-picture"), entry.id, "The picture");
  suggest(entry, (name) => { field.value = name; field.focus(); });
  dialog.returnValue = "";
  dialog.showModal();
  field.focus();
  return new Promise((done) => {
    $("name-form").onsubmit = () => { dialog.returnValue = field.value.trim(); };
    dialog.addEventListener("close", () => done(dialog.returnValue || null), { once: true });
  });
}

let asked = 0;

async function suggest(entry, choose) {
  asked += 1;
  const mine = asked;
  const { matches } = await getJson(`/api/entries/${entry.id}/similar`, { limit: 100, group: true }).catch(() => ({ matches: [] }));
  const named = matches.filter((match) => match.entry.identity !== null).slice(0, SUGGESTED);
  if (mine !== asked || !named.length) return;
  $("name-list").replaceChildren(...named.map((match) => make("li", {},
    make("button", { type: "button", on: { click: () => choose(match.entry.identity) } },
      make("bdi", {}, match.entry.identity), make("span", { className: "quiet" }, match.similarity.toFixed(2))))));
  $("name-like").hidden = false;
}
