// The threshold and what it means.

import { $ } from "./dom.js";

const percent = (fraction) => `${Number((100 * fraction).toPrecision(2))} %`;
const WITHOUT = 0.7;
const USUAL = 0.01;

/** The point whose false positive rate is nearest to one in a hundred. */
const start = (points) => points.reduce((best, one) => (Math.abs(one.fpr - USUAL) < Math.abs(best.fpr - USUAL) ? one : best));

/** Set the slider for the calibration of a gallery, or without one; call `onChange` when it moves. */
export function setUp(calibration, onChange) {
  const slider = $("threshold");
  const points = calibration?.points ?? [];
  slider.value = points.length ? start(points).threshold : WITHOUT;
  const tell = () => {
    $("threshold-value").textContent = value().toFixed(2);
    const text = meaning(points, value(), calibration);
    $("threshold-meaning").textContent = text;
    slider.setAttribute("aria-valuetext", `${value().toFixed(2)}. ${text}`);
  };
  slider.addEventListener("input", () => { tell(); onChange(); });
  tell();
}

/** The least similarity that counts as the same person. */
export const value = () => Number($("threshold").value);

/** A sentence about what a threshold does. */
export function meaning(points, threshold, calibration) {
  if (!points.length) {
    return "How often this errs is not known: no calibration was given (osnet serve --calibration).";
  }
  const reached = points.filter((point) => point.threshold <= threshold + 0.005);
  if (!reached.length) {
    return `Below ${points[0].threshold.toFixed(2)}, more than ${percent(points[0].fpr)} of pairs of different people count as one person.`;
  }
  const point = reached[reached.length - 1];
  const most = point.threshold < threshold - 0.005 ? "at most " : "";
  return `FPR ${most}${percent(point.fpr)}: pairs of different people taken for one person. TPR ${most}${percent(point.tpr)}: pairs of one person recognised. Measured on ${calibration.data.join(", ")}.`;
}
