// The picture that is searched for: dropped, pasted or chosen, with a box drawn on it by mouse, finger or keys.

import { $ } from "./dom.js";

const canvas = $("canvas");
const context = canvas.getContext("2d");
let bitmap = null;
let file = null;
let box = null;
let start = null;
let changed = () => {};
let failed = () => {};

/** What is searched for: the file and the box "x1,y1,x2,y2" in its pixels, or null. */
export const picture = () => (file ? { file, box: box && box.map((value) => Math.round(value)).join(",") } : null);

/** Take another picture. */
export async function take(blob) {
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    failed("This is not a picture that the browser can show. JPEG, PNG and WebP work everywhere.");
    return;
  }
  file = blob;
  box = null;
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.style.setProperty("--ratio", String(bitmap.width / bitmap.height));
  $("empty-drop").hidden = true;
  $("photo").hidden = $("photo-tools").hidden = $("actions").hidden = false;
  $("drop").classList.add("full");
  draw();
  changed();
}

/** Back to no picture. */
export function clear() {
  bitmap = file = box = null;
  $("empty-drop").hidden = false;
  $("photo").hidden = $("photo-tools").hidden = $("actions").hidden = true;
  $("drop").classList.remove("full");
  $("file").value = "";
  changed();
}

function draw() {
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  $("whole").hidden = !box;
  $("box-hint").hidden = Boolean(box);
  canvas.setAttribute("aria-label", box
    ? `Your picture, with a box around ${Math.round(box[2] - box[0])} by ${Math.round(box[3] - box[1])} pixels. Arrow keys move it, with Shift they resize it, Escape takes it away.`
    : "Your picture. Press Enter to put a box on it.");
  if (!box) return;
  const [x1, y1, x2, y2] = box;
  const line = Math.max(2, canvas.width / 160);
  context.fillStyle = "rgb(10 20 18 / .5)";
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(x1, y1, x2 - x1, y2 - y1);
  context.fill("evenodd");
  context.lineWidth = line;
  context.strokeStyle = "#fff";
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
}

function at(event) {
  const area = canvas.getBoundingClientRect();
  return [
    Math.min(canvas.width, Math.max(0, ((event.clientX - area.left) / area.width) * canvas.width)),
    Math.min(canvas.height, Math.max(0, ((event.clientY - area.top) / area.height) * canvas.height)),
  ];
}

function setBox(next) {
  box = next;
  draw();
}

function onKey(event) {
  if (event.key === "Enter" && !box) {
    setBox([canvas.width / 4, canvas.height / 8, (3 * canvas.width) / 4, (7 * canvas.height) / 8]);
  } else if (event.key === "Escape" && box) {
    setBox(null);
  } else if (event.key.startsWith("Arrow") && box) {
    const step = Math.max(1, canvas.width / 40);
    const dx = { ArrowLeft: -step, ArrowRight: step }[event.key] || 0;
    const dy = { ArrowUp: -step, ArrowDown: step }[event.key] || 0;
    let [x1, y1, x2, y2] = box;
    if (event.shiftKey) {
      x2 = Math.min(canvas.width, Math.max(x1 + step, x2 + dx));
      y2 = Math.min(canvas.height, Math.max(y1 + step, y2 + dy));
    } else {
      const right = Math.min(canvas.width - x2, Math.max(-x1, dx));
      const down = Math.min(canvas.height - y2, Math.max(-y1, dy));
      [x1, y1, x2, y2] = [x1 + right, y1 + down, x2 + right, y2 + down];
    }
    setBox([x1, y1, x2, y2]);
  } else {
    return;
  }
  event.preventDefault();
  clearTimeout(onKey.timer);
  onKey.timer = setTimeout(changed, 300);
}

/** Listen; call `onChange` for another picture or box, `onFailure` with a sentence. */
export function listen(onChange, onFailure) {
  changed = onChange;
  failed = onFailure;
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => $("file").files[0] && take($("file").files[0]));
  $("another").addEventListener("click", () => { clear(); $("choose").focus(); });
  $("whole").addEventListener("click", () => { setBox(null); canvas.focus(); changed(); });
  const fileOf = (data) => [...(data?.files || [])].find((one) => one.type.startsWith("image/")) || data?.files?.[0];
  addEventListener("paste", (event) => { const found = fileOf(event.clipboardData); if (found) take(found); });
  addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    const found = fileOf(event.dataTransfer);
    if (found) take(found);
  });
  canvas.addEventListener("pointerdown", (event) => { start = at(event); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [x, y] = at(event);
    setBox([Math.min(start[0], x), Math.min(start[1], y), Math.max(start[0], x), Math.max(start[1], y)]);
  });
  canvas.addEventListener("pointerup", () => {
    if (!start) return;
    start = null;
    if (box && (box[2] - box[0] < 4 || box[3] - box[1] < 4)) setBox(null);
    changed();
  });
  canvas.addEventListener("keydown", onKey);
}
