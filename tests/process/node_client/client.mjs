// Clients of the npm package `mqtt`, moved by lines of JSON: what to do comes in, answers and what happens go out.
//
// The only argument is the folder in which the package is installed. A line in is
//   {"id": 1, "client": "name", "do": "connect" | "subscribe" | "unsubscribe" | "publish" | "drop" | "end" | "vanish", ...}
// and is answered by {"id": 1, "done": ...} or {"id": 1, "failed": text, "code": number}. What happens to a client is
//   {"client": "name", "event": "message" | "connect" | "aliased" | "close" | "disconnect" | "error", ...}
// Bytes are written as {"base64": "..."}, in both directions.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { readFileSync } from "node:fs";

const mqtt = createRequire(join(process.argv[2], "package.json"))("mqtt");
const clients = new Map();

const say = (what) => process.stdout.write(JSON.stringify(packed(what)) + "\n");

function packed(what) {
  if (what instanceof Uint8Array) return { base64: Buffer.from(what).toString("base64") };
  if (Array.isArray(what)) return what.map(packed);
  if (what === null || typeof what !== "object") return what;
  return Object.fromEntries(Object.entries(what).map(([key, value]) => [key, packed(value)]));
}

function unpacked(what) {
  if (Array.isArray(what)) return what.map(unpacked);
  if (what === null || typeof what !== "object") return what;
  if (typeof what.base64 === "string") return Buffer.from(what.base64, "base64");
  return Object.fromEntries(Object.entries(what).map(([key, value]) => [key, unpacked(value)]));
}

const told = ({ reasonCode, returnCode, sessionPresent, properties }) =>
  ({ reasonCode, returnCode, sessionPresent, properties });

const work = {
  connect(name, { url, ca, options }, done) {
    if (ca) options.ca = readFileSync(ca);
    const client = mqtt.connect(url, { reconnectPeriod: 0, ...options });
    clients.set(name, client);
    let first = done;
    const answer = (error, what) => {
      if (first) first(error, what);
      first = null;
    };
    const event = (kind) => (packet) => say({ client: name, event: kind, ...told(packet ?? {}) });
    client.on("connect", (packet) => (first ? answer(null, told(packet)) : event("connect")(packet)));
    client.on("message", (topic, payload, { qos, retain, dup, properties }) =>
      say({ client: name, event: "message", topic, payload, qos, retain, dup, properties }));
    client.on("packetsend", ({ cmd, topic }) => {
      if (cmd === "publish" && topic === "") say({ client: name, event: "aliased" }); // without its topic
    });
    client.on("disconnect", event("disconnect"));
    client.on("close", event("close"));
    client.on("error", (error) => {
      if (first) client.end(true);
      else say({ client: name, event: "error", text: String(error), code: error.code });
      answer(error);
    });
  },
  subscribe(name, { topics, options }, done) {
    clients.get(name).subscribe(topics, options, (error, granted, packet) =>
      packet?.granted ? done(null, { granted: packet.granted }) : done(error, { granted: granted?.map((each) => each.qos) }));
  },
  unsubscribe(name, { topics, options }, done) {
    clients.get(name).unsubscribe(topics, options, (error) => done(error, null));
  },
  publish(name, { topic, payload, options }, done) {
    clients.get(name).publish(topic, payload, options, (error, packet) => done(error, told(packet ?? {})));
  },
  // The connection breaks; the client comes back by itself if it was told to.
  drop(name, _, done) {
    clients.get(name).stream.destroy();
    done(null, null);
  },
  // The connection breaks, and the client with it.
  vanish(name, _, done) {
    clients.get(name).end(true, {}, (error) => done(error, null));
    clients.get(name).stream.destroy();
  },
  end(name, { options }, done) {
    clients.get(name).end(false, options ?? {}, (error) => done(error, null));
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { id, client, do: what, ...how } = unpacked(JSON.parse(line));
    const done = (error, answer) =>
      say(error ? { id, failed: String(error.message ?? error), code: error.code } : { id, done: answer });
    try {
      work[what](client, how, done);
    } catch (error) {
      done(error);
    }
  })
  .on("close", () => process.exit(0));
