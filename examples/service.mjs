// Search a gallery that `osnet serve` serves for the person in a picture. Node 18 or later, no packages.
//
// node examples/service.mjs http://127.0.0.1:8765 QUERY.jpg
//
// A server on another address needs its token: OSNET_TOKEN=... node examples/service.mjs ...

import { readFile } from "node:fs/promises";

const [server, query] = process.argv.slice(2);
if (!query) {
  console.error("usage: node examples/service.mjs http://127.0.0.1:8765 QUERY.jpg");
  process.exit(2);
}
const token = process.env.OSNET_TOKEN;
const answer = await fetch(new URL("/api/search?limit=5&group=true&threshold=0.7", server), {
  method: "POST",
  headers: { "content-type": "application/octet-stream", ...(token && { authorization: `Bearer ${token}` }) },
  body: await readFile(query),
});
const found = await answer.json();
if (!answer.ok) {
  console.error(`${query}: ${found.detail}`);
  process.exit(1);
}
console.log(`${query}: ${found.identity ?? "nobody of the gallery"}`);
for (const { entry, similarity } of found.matches) {
  console.log(`${similarity.toFixed(3)}  ${entry.identity}  ${entry.camera ?? ""}`);
}
