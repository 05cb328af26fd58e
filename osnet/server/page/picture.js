// The picture that is searched for: dropped, pasted or chosen, with a box drawn on it by mouse, finger or keys.

import { $, isolated, toast } from "./dom.js";

const canvas = $("canvas");
const context = canvas.getContext("2d");
const SHOWN = 1600; // pixels of the canvas on its longer side
const SENT = 4_000_000; // pixels of a picture that is made smaller
const KNOWN = /^image\/(jpeg|png|webp|bmp|gif|tiff)$/;
let bitmap = null;
let file = null;
let box = null;
let start = null;
let turn = 0;
let most = { bytes: Infinity, pixels: Infinity };
let changed = () => {};
let failed = () => {};

/** What is searched for: the file and the box "x1,y1,x2,y2" in its pixels, or null. */
export const picture = () => (file ? { file, box: box && box.map((value) => Math.round(value)).join(",") } : null);

/** What the server takes: larger pictures are made smaller before they are sent. */
export function limit(bytes, pixels) {
  most = { bytes, pixels };
}

/** A picture that the server takes: the file as it is, or a JPEG file of it that is small enough. */
async function fitting(blob, whole) {
  const pixels = whole.width * whole.height;
  const known = KNOWN.test(blob.type) || !blob.type.startsWith("image/");
  if (known && blob.size <= most.bytes && pixels <= most.pixels) return blob;
  const scale = Math.min(1, Math.sqrt(Math.min(SENT, most.pixels) / pixels));
  const small = new OffscreenCanvas(Math.max(1, Math.floor(whole.width * scale)), Math.max(1, Math.floor(whole.height * scale)));
  const paper = small.getContext("2d");
  paper.imageSmoothingQuality = "high";
  paper.drawImage(whole, 0, 0, small.width, small.height);
  return small.convertToBlob({ type: "image/jpeg", quality: 0.95 });
}

/** Take another picture. */
export async function take(given) {
  turn += 1;
  const mine = turn;
  let blob = given;
  let whole;
  try {
    whole = await createImageBitmap(given);
    blob = await fitting(given, whole);
    if (blob !== given) whole = await createImageBitmap(blob);
  } catch {
    if (mine === turn) failed(`${given.name ? `${isolated(given.name)} is` : "This is"} not a picture that this browser can show. JPEG, PNG and WebP work everywhere.`);
    return;
  }
  if (mine !== turn) return; // another one was taken meanwhile
  bitmap = whole;
  file = blob;
  box = null;
  const scale = Math.min(1, SHOWN / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
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
  turn += 1;
  changed();
}

function draw() {
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  $("whole").hidden = !box;
  $("box-hint").hidden = Boolean(box);
  canvas.setAttribute("aria-label", box
    ? `Your picture, with a box around ${Math.round(box[2] - box[0])} by ${Math.round(box[3] - box[1])} pixels. Arrow keys move it, with Shift they resize it, Escape takes it away.`
    : "Your picture. Press Enter to put a box on it.");
  if (!box) return;
  const scale = canvas.width / bitmap.width;
  const [x1, y1, x2, y2] = box.map((value) => value * scale);
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
    Math.min(bitmap.width, Math.max(0, ((event.clientX - area.left) / area.width) * bitmap.width)),
    Math.min(bitmap.height, Math.max(0, ((event.clientY - area.top) / area.height) * bitmap.height)),
  ];
}

function setBox(next) {
  box = next;
  draw();
}

function onKey(event) {
  if (event.key === "Enter" && !box) {
    setBox([bitmap.width / 4, bitmap.height / 8, (3 * bitmap.width) / 4, (7 * bitmap.height) / 8]);
  } else if (event.key === "Escape" && box) {
    setBox(null);
  } else if (event.key.startsWith("Arrow") && box) {
    const step = Math.max(1, bitmap.width / 40);
    const dx = { ArrowLeft: -step, ArrowRight: step }[event.key] || 0;
    const dy = { ArrowUp: -step, ArrowDown: step }[event.key] || 0;
    let [x1, y1, x2, y2] = box;
    if (event.shiftKey) {
      x2 = Math.min(bitmap.width, Math.max(x1 + step, x2 + dx));
      y2 = Math.min(bitmap.height, Math.max(y1 + step, y2 + dy));
    } else {
      const right = Math.min(bitmap.width - x2, Math.max(-x1, dx));
      const down = Math.min(bitmap.height - y2, Math.max(-y1, dy));
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
  $("file").addEventListener("change", () => {
    const [chosen] = $("file").files;
    if (chosen) take(chosen);
    $("file").value = ""; // the same file can be chosen again
  });
  $("another").addEventListener("click", () => { clear(); $("choose").focus(); });
  $("whole").addEventListener("click", () => { setBox(null); canvas.focus(); changed(); });
  const receive = (event, data) => {
    if (document.querySelector("dialog[open]")) return;
    const files = [...(data?.files ?? [])];
    const found = files.find((one) => one.type.startsWith("image/")) ?? files[0];
    if (found) {
      event.preventDefault();
      take(found);
      if (files.length > 1) toast(`One picture at a time: ${isolated(found.name)} was taken.`);
    } else if (!event.target.closest?.("input")) {
      failed("There was no picture in that, only text or a link. Save the picture as a file first, or copy the picture itself.");
    }
  };
  addEventListener("paste", (event) => receive(event, event.clipboardData));
  addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    receive(event, event.dataTransfer);
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
