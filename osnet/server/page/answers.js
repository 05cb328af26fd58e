// What is shown at the right: people, answers grouped by person, or the invitation of an empty gallery.

import { showThumbnail } from "./api.js";
import { $, isolated, make, plural, timeText } from "./dom.js";

const UNKNOWN = "Not named";

/** Matches → one group for each person, the best first; each has its matches, best first.

Pictures that are not named may show anybody: those that reach the threshold are one group, the others another. `query`
is an entry that was searched for and is not named. */
export function grouped(matches, threshold, query = null) {
  const groups = new Map();
  for (const match of matches) {
    const named = match.entry.identity !== null;
    const self = !named && match.entry.id === query;
    const key = named ? `=${match.entry.identity}` : self ? "self" : match.similarity >= threshold;
    if (!groups.has(key)) groups.set(key, { who: named ? match.entry.identity : self ? "This picture" : UNKNOWN, named, self, matches: [] });
    groups.get(key).matches.push(match);
  }
  return [...groups.values()];
}

/** Show matches; those groups whose best is below the threshold come after a line. */
export function showAnswers(matches, threshold, actions, query) {
  const groups = grouped(matches, threshold, query);
  const above = groups.filter((group) => group.matches[0].similarity >= threshold);
  const below = groups.filter((group) => group.matches[0].similarity < threshold);
  const parts = [];
  if (above.length) parts.push(list(above, actions, true));
  const found = above.filter((group) => !group.self);
  if (below.length) {
    parts.push(make("p", { className: "divider" }, found.length ? "Less similar than your threshold" : "The nearest, but less similar than your threshold"));
    parts.push(list(below, actions, false));
  }
  $("list").replaceChildren(...parts);
  const named = found.filter((group) => group.named);
  const reach = threshold.toFixed(2);
  if (!matches.length) return "No entry meets the filters.";
  if (!found.length) return `Nobody in the gallery reaches ${reach}: this person seems not to be enrolled${query ? " by name" : ""}.`;
  if (!named.length) return `Only pictures that are not named reach ${reach}.`;
  return named.length === 1
    ? `One person reaches ${reach}: ${isolated(named[0].who)}.`
    : `${named.length} people reach ${reach}; ${isolated(named[0].who)} is the most similar.`;
}

function list(groups, actions, above) {
  const first = groups.find((group) => !group.self);
  return make("ul", { className: "groups" }, ...groups.map((group) => {
    const best = group.matches[0].similarity;
    const verdict = group.self ? "" : !above ? "below the threshold" : group === first ? "most similar" : "reaches the threshold";
    return make("li", {}, make("article", { className: `group ${group.self ? "self" : ""} ${above ? "" : "below"} ${above && group === first ? "best" : ""}`, "aria-label": `${group.who}, similarity ${best.toFixed(2)}` },
      make("div", { className: "group-head" },
        make("h3", { dir: "auto" }, group.who),
        verdict && make("span", { className: "verdict" }, verdict),
        actions.removePerson && group.named && make("button", { type: "button", className: "plain menu", "aria-label": `Remove person ${group.who}`, on: { click: () => actions.removePerson(group.who) } }, "Remove person")),
      make("ul", { className: "shots" }, ...group.matches.map((match) => shot(match, group.who, actions)))));
  }));
}

function shot({ entry, similarity }, who, actions) {
  const frame = make("div", { className: "frame" });
  showThumbnail(frame, entry.id, `${who}${entry.camera === null ? "" : `, camera ${entry.camera}`}`);
  return make("li", { className: "shot", "data-id": entry.id },
    frame,
    make("span", { className: "score" }, similarity.toFixed(2)),
    make("meter", { min: 0, max: 1, value: Math.max(0, similarity), "aria-label": "similarity" }),
    make("span", { className: "quiet" }, entry.camera === null ? "camera not known" : entry.camera),
    make("span", { className: "quiet" }, timeText(entry.time) || "time not known"),
    actions.removeEntry && make("div", { className: "row" },
      entry.identity === null && make("button", { type: "button", className: "plain name", "aria-label": "Name this picture", on: { click: () => actions.nameEntry(entry) } }, "Name"),
      make("button", { type: "button", className: "plain remove", "aria-label": `Remove this picture of ${who}`, on: { click: () => actions.removeEntry(entry) } }, "Remove")));
}

/** Show everybody who is enrolled, and `unnamed` (a cover and the number of pictures) where there is any. */
export function showPeople(people, more, choose, unnamed, chooseUnnamed) {
  const tile = (cover, name, count, kind, click) => {
    const frame = make("div", { className: "frame" });
    showThumbnail(frame, cover, "");
    return make("li", { className: kind }, make("button", { type: "button", on: { click } },
      frame,
      make("bdi", {}, name),
      make("span", { className: "quiet" }, plural(count, "picture", "pictures"))));
  };
  $("list").replaceChildren(make("ul", { className: "people" },
    ...(unnamed ? [tile(unnamed.cover, UNKNOWN, unnamed.entries, "stack", chooseUnnamed)] : []),
    ...people.map((person) => tile(person.cover, person.identity, person.entries, "", () => choose(person)))));
  return more ? `The first ${people.length} by name.` : "";
}

/** Invite to begin: nobody is enrolled. */
export function showWelcome(drawPeople) {
  const art = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  art.setAttribute("viewBox", "0 0 168 96");
  art.setAttribute("aria-hidden", "true");
  for (const x of [36, 84, 132]) {
    for (const [tag, shape] of [["circle", { cx: x, cy: 26, r: 12 }], ["path", { d: `M${x - 20} 90c0-26 7-44 20-44s20 18 20 44z` }]]) {
      const part = document.createElementNS(art.namespaceURI, tag);
      Object.entries(shape).forEach(([name, value]) => part.setAttribute(name, value));
      art.append(part);
    }
  }
  $("list").replaceChildren(make("div", { className: "welcome" }, art,
    make("h3", {}, "Nobody is enrolled yet"),
    make("p", { className: "quiet" }, "Choose a picture at the side and enrol the person in it, or try everything first with people who are drawn. They can be removed again with one click."),
    drawPeople && make("button", { type: "button", className: "primary", id: "draw-people", on: { click: drawPeople } }, "Try it with drawn people")));
  return "";
}
