// A WebSocket of JSON messages that comes back by itself.
//
// A page says what it wants in onOpen, which runs after every connection: whatever it had asked for before is
// forgotten by the server when the connection is lost.

const FIRST_DELAY = 500; // milliseconds
const LONGEST_DELAY = 15000;
const STABLE_AFTER = 5000; // a connection that held this long starts the delays anew

/**
 * Connect to a path of this site, and stay connected.
 *
 * @param {string} path for example "/ws/live/"
 * @param {object} handlers
 * @param {function(function(object))} [handlers.onOpen] gets send(data)
 * @param {function(object)} [handlers.onMessage] gets each message
 * @param {function(string)} [handlers.onState] gets "connecting", "open" or "closed"; "closed" is final: the server
 *     refused (codes 4000-4999), or close() was called
 * @returns {{send: function(object): boolean, close: function()}} send tells whether there was a connection to take it
 */
export function connect(path, { onOpen, onMessage, onState } = {}) {
  const url = new URL(path, window.location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  let socket = null;
  let timer = null;
  let delay = FIRST_DELAY;
  let finished = false;

  let told = "";

  const tell = (state) => {
    if (state !== told) {
      told = state;
      onState?.(state);
    }
  };

  const send = (data) => {
    if (socket?.readyState !== WebSocket.OPEN) {
      return false;
    }
    socket.send(JSON.stringify(data));
    return true;
  };

  const finish = () => {
    finished = true;
    clearTimeout(timer);
    tell("closed");
  };

  const open = () => {
    clearTimeout(timer);
    tell("connecting");
    const mine = new WebSocket(url);
    let opened = 0;
    socket = mine;
    mine.addEventListener("open", () => {
      opened = Date.now();
      tell("open");
      onOpen?.(send);
    });
    mine.addEventListener("message", (event) => onMessage?.(JSON.parse(event.data)));
    mine.addEventListener("close", (event) => {
      if (finished) {
        return;
      }
      if (event.code >= 4000 && event.code <= 4999) {
        finish();
        return;
      }
      if (opened && Date.now() - opened > STABLE_AFTER) {
        delay = FIRST_DELAY;
      }
      tell("connecting");
      // Spread over time: after a restart of amiweb all pages come back at once.
      timer = setTimeout(open, delay * (0.5 + Math.random()));
      delay = Math.min(delay * 2, LONGEST_DELAY);
    });
  };

  // A laptop that wakes up, or a network that is back, need not wait for the delay.
  window.addEventListener("online", () => {
    if (!finished && socket?.readyState === WebSocket.CLOSED) {
      open();
    }
  });

  open();
  return {
    send,
    close() {
      if (!finished) {
        finish();
        socket?.close(1000);
      }
    },
  };
}
