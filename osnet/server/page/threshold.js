// The threshold and what it means.

import { $, plural } from "./dom.js";

const percent = (fraction) => `${Number((100 * fraction).toPrecision(2))} %`;
const WITHOUT = 0.7;
const USUAL = 0.01;
const STEPS = 100; // of the slider, from 0 to 1
let calibration;
let entries = 0;

/** The point whose false positive rate is nearest to one in a hundred. */
const start = (points) => points.reduce((best, one) => (Math.abs(one.fpr - USUAL) < Math.abs(best.fpr - USUAL) ? one : best));

/** Say what the threshold means with the calibration `found`, or null, in a gallery of `count` entries. */
export function explain(found, count) {
  if (calibration === undefined) $("threshold").value = found?.points.length ? Math.ceil(STEPS * start(found.points).threshold) / STEPS : WITHOUT;
  calibration = found;
  entries = count;
  tell();
}

/** Call `onChange` when the slider moves. */
export function listen(onChange) {
  $("threshold").addEventListener("input", () => { tell(); onChange(); });
}

function tell() {
  const text = meaning(calibration, value(), entries);
  $("threshold-value").textContent = value().toFixed(2);
  $("threshold-meaning").textContent = text;
  $("threshold").setAttribute("aria-valuetext", `${value().toFixed(2)}. ${text}`);
}

/** The least similarity that counts as the same person. */
export const value = () => Number($("threshold").value);

/** Lines about what a threshold does in a search of `count` entries. */
export function meaning(found, threshold, count) {
  if (!found?.points.length) return "How often this errs is not known: no calibration was given (osnet serve --calibration).";
  const point = found.points.filter((one) => one.threshold <= threshold).pop();
  if (!point) {
    const [first] = found.points;
    return `Below ${first.threshold.toFixed(2)}, more than ${percent(first.fpr)} of pairs of different people count as one person.`;
  }
  const wrong = count * point.fpr;
  const who = "for people who are not enrolled";
  const among = `(${plural(count, "picture", "pictures")})`;
  return [
    `FPR at most ${percent(point.fpr)}: pairs of different people taken for one person.`,
    `TPR at most ${percent(point.tpr)}: pairs of one person recognised.`,
    wrong < 1 ? `At most ${percent(wrong)} of searches ${who} find somebody ${among}.` : `Searches ${who} may all find somebody ${among}.`,
    `Measured on ${point.warning ? "few pairs of " : ""}${found.data.join(", ")}.`,
  ].join("\n");
}
