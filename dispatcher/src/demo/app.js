// Behaviour of the demo page: a goim client over WebSocket, and a form that pushes. Everything that arrives is shown as text,
// never as markup. The parts, in order: frames, the connection, the login form, messages, the push form, live counts.
"use strict";

const byId = (id) => document.getElementById(id);

// ---- Frames: a 16-byte big-endian header (length, header length, version, op, seq), then the body. ----

const HEADER_BYTES = 16;
const Op = Object.freeze({
  HEARTBEAT: 2, HEARTBEAT_REPLY: 3, AUTH: 7, AUTH_REPLY: 8, RAW: 9, CHANGE_ROOM: 12, CHANGE_ROOM_REPLY: 13,
  SUBSCRIBE: 14, SUBSCRIBE_REPLY: 15, UNSUBSCRIBE: 16, UNSUBSCRIBE_REPLY: 17,
});

function encodeFrame(op, seq, text) {
  const body = new TextEncoder().encode(text);
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, bytes.length);
  view.setInt16(4, HEADER_BYTES);
  view.setInt16(6, 1);
  view.setInt32(8, op);
  view.setInt32(12, seq);
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

// The frames that lie back to back in `bytes`; ends at the first that is not whole, so that no length can lead outside or in
// circles.
function* decodeFrames(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (bytes.length - at >= HEADER_BYTES) {
    const length = view.getInt32(at);
    if (view.getInt16(at + 4) !== HEADER_BYTES || length < HEADER_BYTES || length > bytes.length - at) return;
    yield { op: view.getInt32(at + 8), seq: view.getInt32(at + 12), body: bytes.subarray(at + HEADER_BYTES, at + length) };
    at += length;
  }
}

// ---- The connection: one socket at a time, and the wait between two of them. ----

const BACKOFF = Object.freeze({ baseMs: 1000, maxMs: 30000, factor: 1.8, jitter: 0.3 });

// What the gateway says by closing. `final`: coming back by itself would only repeat it.
const CLOSE_CODES = Object.freeze({
  1000: { text: "the gateway closed the connection" },
  1001: { text: "the gateway is going away" },
  1002: { text: "the gateway did not understand us" },
  1006: { text: "the connection broke" },
  1007: { text: "a message was not valid text" },
  1008: { text: "the gateway's policy refuses this" },
  1009: { text: "a message was too long" },
  1011: { text: "the gateway had an internal error" },
  1012: { text: "the gateway restarts" },
  1013: { text: "the gateway is full, try again later" },
  4001: { text: "the same key logged in elsewhere", final: true },
  4002: { text: "this user has too many connections", final: true },
  4003: { text: "the token expired", final: true },
  4004: { text: "we read too slowly" },
  4005: { text: "this key is already connected", final: true },
  4006: { text: "an operator closed the connection", final: true },
});

const LIVE_COUNT_MS = 5000;

class Connection {
  // `on` has the callbacks state(name, text), online(count), message(frame), reply(op, text).
  constructor(on) {
    this.on = on;
    this.socket = null;
    this.attempt = 0;
    this.loggedIn = false;
    this.seq = 0;
  }

  open(url, token) {
    this.close();
    this.url = url;
    this.token = token;
    this.attempt = 0;
    this.#connect();
  }

  close() {
    clearTimeout(this.retry);
    clearInterval(this.beat);
    const socket = this.socket;
    this.socket = null;
    this.loggedIn = false;
    if (socket) socket.close(1000);
  }

  send(op, text) {
    if (this.loggedIn) this.#write(op, text);
  }


  #write(op, text) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(encodeFrame(op, ++this.seq, text));
    }
  }

  #connect() {
    this.on.state("connecting", "connecting");
    let socket;
    try {
      socket = new WebSocket(this.url);
    } catch (error) {
      this.on.state("refused", `refused: ${error.message}`);
      return;
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { if (socket === this.socket) this.#write(Op.AUTH, this.token()); };
    socket.onmessage = (event) => { if (socket === this.socket) this.#received(event.data); };
    socket.onclose = (event) => { if (socket === this.socket) this.#closed(event); };
  }

  #received(data) {
    if (typeof data === "string") return;
    for (const frame of decodeFrames(new Uint8Array(data))) {
      if (frame.op === Op.RAW) {
        for (const inner of decodeFrames(frame.body)) this.on.message(inner);
      } else {
        this.#handle(frame);
      }
    }
  }

  #handle(frame) {
    switch (frame.op) {
      case Op.AUTH_REPLY:
        this.loggedIn = true;
        this.attempt = 0;
        this.on.state("connected", "connected");
        clearInterval(this.beat);
        this.beat = setInterval(() => this.send(Op.HEARTBEAT, ""), LIVE_COUNT_MS);
        this.send(Op.HEARTBEAT, "");
        break;
      case Op.HEARTBEAT_REPLY:
        if (frame.body.length >= 4) {
          this.on.online(new DataView(frame.body.buffer, frame.body.byteOffset).getInt32(0));
        }
        break;
      case Op.CHANGE_ROOM_REPLY:
      case Op.SUBSCRIBE_REPLY:
      case Op.UNSUBSCRIBE_REPLY:
        this.on.reply(frame.op, new TextDecoder().decode(frame.body));
        this.send(Op.HEARTBEAT, "");
        break;
      default:
        this.on.message(frame);
    }
  }

  #closed(event) {
    clearInterval(this.beat);
    const was = this.loggedIn;
    this.socket = null;
    this.loggedIn = false;
    const known = CLOSE_CODES[event.code] || { text: "the connection was closed" };
    let reason = event.reason ? `${event.reason} (${event.code})` : `${known.text} (${event.code})`;
    if (event.code === 1006 && !was) reason = "the gateway cannot be reached";
    // A policy that strikes before the login is about the login itself.
    if (known.final || (event.code === 1008 && !was)) {
      this.on.state("refused", `refused: ${reason}`);
      return;
    }
    const spread = 1 - BACKOFF.jitter + 2 * BACKOFF.jitter * Math.random();
    const delay = Math.min(BACKOFF.maxMs, BACKOFF.baseMs * BACKOFF.factor ** this.attempt++) * spread;
    this.on.state("waiting", `${reason}; trying again in ${Math.max(1, Math.round(delay / 1000))} s`);
    this.retry = setTimeout(() => this.#connect(), delay);
  }
}

// ---- The login form, and what can be changed on a live connection. ----

let server = { path: "/sub", jwt: false, push_token: false };
let asked = null;

// Where the gateway is; asked once, and again after a failure.
function askServer() {
  asked ??= fetch("/v1/demo.json").then((response) => response.json()).then((info) => {
    server = info;
    for (const part of document.querySelectorAll(".only-jwt")) part.hidden = !server.jwt;
    for (const part of document.querySelectorAll(".only-open")) part.hidden = server.jwt;
    byId("push-token-field").hidden = !server.push_token;
    if (server.server_id) document.title = `Halley on ${server.server_id}`;
  }).catch(() => { asked = null; });
  return asked;
}

const fields = { mid: byId("mid"), key: byId("key"), room: byId("room"), accepts: byId("accepts"), token: byId("token") };

function integers(text) {
  const parts = text.split(",").map((part) => part.trim()).filter((part) => part !== "");
  return parts.every((part) => /^-?\d{1,10}$/.test(part)) ? parts : null;
}

// The body of op 7. Numbers are put in as they were typed: JavaScript's own end at 2^53.
function loginToken() {
  const room = `"room_id":${JSON.stringify(fields.room.value.trim())}`;
  const accepts = `"accepts":[${(integers(fields.accepts.value) || []).join(",")}]`;
  if (server.jwt) return `{"token":${JSON.stringify(fields.token.value.trim())},${room},${accepts}}`;
  const key = fields.key.value.trim();
  const mid = `"mid":${fields.mid.value.trim() || "0"}`;
  return `{${mid},${key ? `"key":${JSON.stringify(key)},` : ""}${room},"platform":"web",${accepts}}`;
}

function checked(field, isRight) {
  field.setAttribute("aria-invalid", String(!isRight));
  if (!isRight) field.focus();
  return isRight;
}

function setState(state, text) {
  const status = byId("status");
  status.dataset.state = state;
  status.textContent = text;
  const connected = state === "connected";
  for (const id of ["change-room", "subscribe", "unsubscribe"]) byId(id).disabled = !connected;
  byId("logout").disabled = state === "logged-out" || state === "refused";
  if (!connected) byId("online").textContent = "–";
}

const changed = (text) => { byId("change-result").textContent = text; };

const connection = new Connection({
  state: setState,
  online: (count) => { byId("online").textContent = String(count); },
  message: showMessage,
  reply: (op, text) => {
    if (op === Op.CHANGE_ROOM_REPLY) changed(text === "" ? "left the room" : `now in ${text}`);
    else changed(op === Op.SUBSCRIBE_REPLY ? `subscribed to ${text}` : `unsubscribed from ${text}`);
  },
});

function gatewayUrl() {
  const secure = location.protocol === "https:";
  const endpoint = secure ? server.wss : server.ws;
  if (!endpoint) return null;
  return `${secure ? "wss" : "ws"}://${endpoint.host || location.hostname}:${endpoint.port}${server.path}`;
}

byId("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  await askServer();
  if (!asked) return setState("refused", "refused: the ingress cannot be reached");
  const url = gatewayUrl();
  if (!url) return setState("refused", "refused: the gateway has no WebSocket listener for this page");
  if (!checked(fields.mid, /^\d{0,19}$/.test(fields.mid.value.trim()))) {
    return setState("refused", "refused: the mid is a number");
  }
  if (!checked(fields.accepts, integers(fields.accepts.value) !== null)) {
    return setState("refused", "refused: ops are numbers, such as 1000,1001");
  }
  try {
    sessionStorage.setItem("halley-key", fields.key.value.trim());
  } catch {
    // A browser that keeps nothing only makes a new key on the next visit.
  }
  changed("");
  connection.open(url, loginToken);
});

byId("logout").addEventListener("click", () => {
  connection.close();
  setState("logged-out", "logged out");
  byId("login").focus();
});

byId("change-room").addEventListener("click", () => connection.send(Op.CHANGE_ROOM, fields.room.value.trim()));

// Enter logs in from every field; in the room of a live connection it changes the room.
fields.room.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || byId("change-room").disabled) return;
  event.preventDefault();
  byId("change-room").click();
});

function changeOps(op) {
  const ops = byId("ops");
  const list = integers(ops.value);
  if (!checked(ops, list && list.length > 0)) return changed("ops are numbers, such as 1003,1004");
  const accepted = new Set(integers(fields.accepts.value) || []);
  for (const one of list) {
    if (op === Op.SUBSCRIBE) accepted.add(one);
    else accepted.delete(one);
  }
  // A reconnect logs in with what is accepted now.
  fields.accepts.value = [...accepted].join(",");
  connection.send(op, list.join(","));
}

byId("ops-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!byId("subscribe").disabled) changeOps(Op.SUBSCRIBE);
});
byId("unsubscribe").addEventListener("click", () => changeOps(Op.UNSUBSCRIBE));

// ---- Messages. ----

const MESSAGES_MAX = 500;
const SHOWN_BYTES_MAX = 16384;
const messages = byId("messages");
let messageCount = 0;

// Text when it is UTF-8, else its bytes in hexadecimal.
function readable(body) {
  const shown = body.subarray(0, SHOWN_BYTES_MAX);
  const more = body.length > shown.length ? `… (${body.length - shown.length} bytes more)` : "";
  try {
    // A cut inside a character is no reason to show bytes: `stream` leaves its beginning out.
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(shown, { stream: more !== "" }) + more, binary: false };
  } catch {
    const hex = Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    return { text: hex + more, binary: true };
  }
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function showMessage(frame) {
  const now = new Date();
  const { text, binary } = readable(frame.body);
  const item = element("li", binary ? "fresh binary" : "fresh", "");
  item.dataset.op = frame.op;
  item.dataset.bytes = frame.body.length;
  const clock = now.toLocaleTimeString([], { hour12: false });
  const time = element("time", "", `${clock}.${String(now.getMilliseconds()).padStart(3, "0")}`);
  time.dateTime = now.toISOString();
  const op = element("span", "op", `op ${frame.op}`);
  const size = element("span", "size", `${frame.body.length} bytes`);
  item.append(time, op, size, element("pre", "", text));
  const atEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 40;
  messages.append(item);
  while (messages.childElementCount > MESSAGES_MAX) messages.firstElementChild.remove();
  if (atEnd) messages.scrollTop = messages.scrollHeight;
  messageCount += 1;
  byId("message-count").textContent = `${messageCount} received`;
  flare();
}

// The comet's tail lights up with every message.
const tail = document.querySelector(".tail");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function flare() {
  if (!calm.matches) tail.animate([{ opacity: 1 }, { opacity: 0.45 }], { duration: 700, easing: "ease-out" });
}

byId("clear").addEventListener("click", () => {
  messages.replaceChildren();
  messageCount = 0;
  byId("message-count").textContent = "none yet";
});

// ---- The push form. ----

const pushTarget = byId("push-target");
const pushValue = byId("push-value");
const PUSH_VALUE_LABELS = Object.freeze({ room: "Room", key: "Key", mid: "User (mid)", all: "" });
let pushValueTyped = false;

// The value follows the login form until somebody types another.
function suggestPushValue() {
  const target = pushTarget.value;
  byId("push-value-field").hidden = target === "all";
  byId("push-speed-field").hidden = target !== "all";
  byId("push-value-label").textContent = PUSH_VALUE_LABELS[target];
  if (!pushValueTyped && target !== "all") pushValue.value = fields[target].value.trim();
}

pushTarget.addEventListener("change", () => { pushValueTyped = false; suggestPushValue(); });
pushValue.addEventListener("input", () => { pushValueTyped = true; });
for (const name of ["room", "key", "mid"]) fields[name].addEventListener("input", suggestPushValue);

// The header with the token, once one is typed.
function authorization() {
  const token = server.push_token ? byId("push-token").value.trim() : "";
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function pushResult(kind, text) {
  const result = byId("push-result");
  result.dataset.kind = kind;
  result.textContent = text;
}

// The JSON of `POST /v1/push`; null, with the reason shown, when a field is wrong.
function pushRequest() {
  const op = byId("push-op");
  if (!checked(op, /^-?\d{1,10}$/.test(op.value.trim()))) return pushResult("error", "the op is a number"), null;
  const target = pushTarget.value;
  const value = target === "all" ? true : pushValue.value.trim();
  const request = { target: { [target]: value }, op: Number(op.value), text: byId("push-body").value };
  const speed = byId("push-speed");
  if (target === "all" && speed.value.trim() !== "") {
    if (!checked(speed, /^\d{1,10}$/.test(speed.value.trim()))) return pushResult("error", "the speed is a number"), null;
    request.speed = Number(speed.value);
  }
  if (byId("push-dry-run").checked) request.dry_run = true;
  return request;
}

byId("push-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const request = pushRequest();
  if (!request) return;
  const headers = { "Content-Type": "application/json", ...authorization() };
  const send = byId("push-send");
  send.setAttribute("aria-busy", "true");
  try {
    const response = await fetch("/v1/push", { method: "POST", headers, body: JSON.stringify(request) });
    const answer = await response.json();
    if (!response.ok) return pushResult("error", answer.error.message);
    const matched = answer.matched === undefined
      ? "the number of matches is not known"
      : `matched ${answer.matched} connection${answer.matched === 1 ? "" : "s"}`;
    pushResult("ok", request.dry_run ? `would have ${matched}` : `accepted as ${answer.id}, ${matched}`);
  } catch {
    pushResult("error", "the ingress cannot be reached");
  } finally {
    send.removeAttribute("aria-busy");
  }
});

// ---- Live counts. ----

const COUNTS_POLL_MS = 3000;

async function pollCounts() {
  const headers = authorization();
  // Without its token the ingress would only say no.
  if (!document.hidden && (!server.push_token || headers.Authorization)) {
    const unknown = { connections: "–", addresses: "–", rooms: "–", top: [] };
    try {
      const response = await fetch("/v1/online?limit=5", { headers });
      showCounts(response.ok ? await response.json() : unknown);
    } catch {
      showCounts(unknown);
    }
  }
  setTimeout(pollCounts, COUNTS_POLL_MS);
}

function showCounts(online) {
  for (const name of ["connections", "addresses", "rooms"]) byId(`count-${name}`).textContent = online[name].toLocaleString();
  const rows = online.top.map(({ room, count }) => {
    const row = element("li", "", "");
    row.append(element("span", "", room), element("span", "", count.toLocaleString()));
    return row;
  });
  byId("top-rooms").replaceChildren(...(rows.length ? rows : [element("li", "none", "nobody is in a room")]));
}

// ---- Start. ----

function uuid() {
  // randomUUID exists only on pages that browsers call secure, which a page from another machine over HTTP is not.
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function start() {
  let key = null;
  try {
    key = sessionStorage.getItem("halley-key");
  } catch {
    // As above.
  }
  fields.key.value = key || `web-${uuid().slice(0, 8)}`;
  suggestPushValue();
  pollCounts();
  askServer();
}

start();
