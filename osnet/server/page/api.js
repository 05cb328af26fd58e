// Requests to the server: the token, one way to fail, pictures as addresses for <img>.

const KEY = "osnet-token";

/** Remember a token, without what cannot be in one: a header could not carry it. */
function keep(token) {
  sessionStorage.setItem(KEY, token.replace(/[^\x21-\x7e]/g, ""));
}

const fromAddress = new URLSearchParams(location.hash.slice(1)).get("token");
if (fromAddress) {
  keep(fromAddress);
  history.replaceState(null, "", location.pathname);
}

let askForToken = async () => "";

/** Call `ask` for the token when the server refuses the one there is; it is told whether there was one. */
export function onMissingToken(ask) {
  askForToken = ask;
}

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, authorization: `Bearer ${token}` } : more;
}

/** The answer to a request; an Error with a sentence for people where there is none. */
async function request(method, path, { params = {}, body, kind, keepalive = false } = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== "") query.append(name, value);
  }
  const address = String(query) ? `${path}?${query}` : path;
  for (let attempt = 0; ; attempt += 1) {
    let answer;
    try {
      answer = await fetch(address, { method, body, keepalive, headers: headers(kind ? { "content-type": kind } : {}) });
    } catch {
      throw new Error("The server does not answer. Is it still running?");
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      keep(await askForToken(Boolean(sessionStorage.getItem(KEY))));
    } else if ((answer.status === 429 || answer.status === 503) && attempt < 3) {
      await new Promise((done) => setTimeout(done, 1000 * Number(answer.headers.get("retry-after") || 1)));
    } else {
      const told = await answer.json().catch(() => ({}));
      throw new Error(sentence(told.detail || `the server answered ${answer.status}`));
    }
  }
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

export const getJson = async (path, params) => (await request("GET", path, { params })).json();
export const remove = async (path, params, keepalive) => (await request("DELETE", path, { params, keepalive })).json();
export const patch = async (path, params) => (await request("PATCH", path, { params })).json();
export const getBlob = async (path) => (await request("GET", path)).blob();
export const post = async (path, params, picture) =>
  (await request("POST", path, { params, body: picture, kind: picture && (picture.type || "application/octet-stream") })).json();

const thumbnails = new Map();

/** Show the thumbnail of an entry in `frame`, fetched once. */
export async function showThumbnail(frame, id, alt) {
  if (!thumbnails.has(id)) {
    thumbnails.set(id, getBlob(`/api/entries/${id}/thumbnail`).then(URL.createObjectURL).catch(() => null));
  }
  const address = await thumbnails.get(id);
  if (!address) {
    frame.textContent = "no picture";
    return;
  }
  const image = new Image();
  image.alt = alt;
  image.src = address;
  frame.replaceChildren(image);
}
