// Adds events to the list as they happen. Without this script the list is as it was at load.

"use strict";

const list = document.querySelector("[data-events]");
const state = document.querySelector("[data-state]");
const PAUSE_IN_MILLISECONDS = 1000;
const TRIES = 3;

let source = null;
let after = list?.dataset.after ?? "";
let failures = 0;
let hasEnded = false;

function say(text, live) {
  // Screen readers announce what changes here, so nothing is said twice.
  if (state.textContent !== text) {
    state.textContent = text;
    state.classList.toggle("live", live);
  }
}

function add({ text, at }) {
  // As text, never as markup: a user agent is whatever somebody sent.
  const row = document.createElement("li");
  const words = document.createElement("span");
  const time = document.createElement("time");
  words.textContent = text;
  time.dateTime = at;
  time.textContent = `${new Date(at).toISOString().slice(11, 19)} UTC`;
  row.append(words, " ", time);
  row.classList.add("new");
  list.prepend(row);
  while (list.children.length > Number(list.dataset.most)) {
    list.lastElementChild.remove();
  }
}

function close() {
  source?.close();
  source = null;
}

function fail() {
  close();
  failures += 1;
  if (hasEnded) {
    say("Not live any more: this session has ended. Load the page again.", false);
  } else if (failures < TRIES) {
    say("Not live at the moment", false);
    setTimeout(listen, PAUSE_IN_MILLISECONDS);
  } else {
    say("Not live any more. Load the page again.", false);
  }
}

function end() {
  // "Sign out everywhere else" in another tab ends it as well, and then this browser has a
  // session under a new id: one look whether that is so.
  close();
  hasEnded = true;
  say("Not live at the moment", false);
  setTimeout(listen, PAUSE_IN_MILLISECONDS);
}

function listen() {
  if (source !== null || document.hidden) {
    return;
  }
  source = new EventSource(`/events/stream?after=${encodeURIComponent(after)}`);
  source.addEventListener("open", () => {
    failures = 0;
    hasEnded = false;
    say("Live", true);
  });
  source.addEventListener("message", (event) => {
    after = event.lastEventId;
    add(JSON.parse(event.data));
  });
  source.addEventListener("ended", end);
  source.addEventListener("error", () => {
    // A stream that has lasted long enough is asked for again by the browser itself.
    if (source !== null && source.readyState === EventSource.CLOSED) {
      fail();
    }
  });
}

if (list !== null) {
  // Only pages that somebody looks at: a browser opens six connections at most.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
    } else {
      listen();
    }
  });
  // A page that is kept for "back" must not hold a connection.
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", listen);
}
