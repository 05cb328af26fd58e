// Small things that every part of the page needs: elements, dialogs, messages, times.

export const $ = (id) => document.getElementById(id);

/** An element; texts become text, never HTML. */
export function make(tag, { on = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  element.append(...children.filter((child) => child || child === 0 || child === ""));
  return element;
}

/** Whether the question is answered with yes. */
export function ask(title, text, yes) {
  const dialog = $("ask-dialog");
  $("ask-dialog-title").textContent = title;
  $("ask-dialog-text").textContent = text;
  $("ask-dialog-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
  });
}

/** A message at the bottom for some seconds. With `undo` it has that button. */
export function toast(text, { undo, seconds = 6, after } = {}) {
  let timer;
  const end = (next) => {
    clearTimeout(timer);
    note.remove();
    waiting.delete(finish);
    if (next) next();
  };
  const finish = (leaving) => end(after && (() => after(leaving)));
  const button = undo && make("button", { type: "button", on: { click: () => end(undo) } }, "Undo");
  const note = make("div", { className: "toast" }, make("span", {}, text), button);
  $("toasts").append(note);
  timer = setTimeout(finish, 1000 * seconds);
  if (after) waiting.add(finish);
}

const waiting = new Set();
addEventListener("pagehide", () => [...waiting].forEach((finish) => finish(true)));

const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A time for people; empty where it is not known. */
export const timeText = (seconds) => (seconds === null ? "" : format.format(new Date(1000 * seconds)));

/** What a datetime-local input says, as ISO 8601 in UTC. */
export const isoOf = (local) => (local ? new Date(local).toISOString() : "");

export const plural = (count, one, many) => `${count.toLocaleString()} ${count === 1 ? one : many}`;

const TURNS = /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufefc]/;

/** A name inside a sentence: one that is written from right to left leaves the order of the other words as it is. */
export const isolated = (name) => (TURNS.test(name) ? `\u2068${name}\u2069` : name);
