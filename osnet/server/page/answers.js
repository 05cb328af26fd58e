// What is shown at the right: people, answers grouped by person, or the invitation of an empty gallery.

import { showThumbnail } from "./api.js";
import { $, make, plural, timeText } from "./dom.js";

const UNKNOWN = "Not named";

/** Matches → one group for each person, the best first; each has its matches, best first. */
export function grouped(matches) {
  const groups = new Map();
  for (const match of matches) {
    const who = match.entry.identity ?? UNKNOWN;
    if (!groups.has(who)) groups.set(who, { who, named: match.entry.identity !== null, matches: [] });
    groups.get(who).matches.push(match);
  }
  return [...groups.values()];
}

/** Show matches; those groups whose best is below the threshold come after a line. */
export function showAnswers(matches, threshold, actions) {
  const groups = grouped(matches);
  const above = groups.filter((group) => group.matches[0].similarity >= threshold);
  const below = groups.filter((group) => group.matches[0].similarity < threshold);
  const parts = [];
  if (above.length) parts.push(list(above, threshold, actions, true));
  if (below.length) {
    parts.push(make("p", { className: "divider" }, above.length ? "Less similar than your threshold" : "The nearest, but less similar than your threshold"));
    parts.push(list(below, threshold, actions, false));
  }
  $("list").replaceChildren(...parts);
  if (!matches.length) return "No entry meets the filters.";
  if (!above.length) return `Nobody in the gallery reaches ${threshold.toFixed(2)}: this person seems not to be enrolled.`;
  return above.length === 1
    ? `One person reaches ${threshold.toFixed(2)}: ${above[0].who}.`
    : `${above.length} people reach ${threshold.toFixed(2)}; ${above[0].who} is the most similar.`;
}

function list(groups, threshold, actions, above) {
  return make("ul", { className: "groups" }, ...groups.map((group, place) => {
    const best = group.matches[0].similarity;
    const verdict = above ? (place === 0 ? "most similar" : "reaches the threshold") : "below the threshold";
    return make("li", {}, make("article", { className: `group ${above ? "" : "below"} ${above && place === 0 ? "best" : ""}`, "aria-label": `${group.who}, similarity ${best.toFixed(2)}` },
      make("div", { className: "group-head" },
        make("h3", {}, group.who),
        make("span", { className: "verdict" }, verdict),
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
    actions.removeEntry && make("button", { type: "button", className: "plain", "aria-label": `Remove this picture of ${who}`, on: { click: () => actions.removeEntry(entry) } }, "Remove"));
}

/** Show everybody who is enrolled. */
export function showPeople(people, more, choose) {
  $("list").replaceChildren(make("ul", { className: "people" }, ...people.map((person) => {
    const frame = make("div", { className: "frame" });
    showThumbnail(frame, person.cover, "");
    return make("li", {}, make("button", { type: "button", on: { click: () => choose(person) } },
      frame,
      make("span", {}, person.identity),
      make("span", { className: "quiet" }, plural(person.entries, "picture", "pictures"))));
  })));
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
