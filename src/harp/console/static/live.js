// SPDX-License-Identifier: AGPL-3.0-or-later
// One event stream for each page that is looked at. When it tells of a change, the page is asked for anew, and those parts
// of it that are marked as living are put in the place of the old ones. A stream that ends is asked for again.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5000;
const QUIET_MS = 60000;

let source = null;
let failures = 0;
let refreshing = false;
let again = false;
let refreshedAt = Date.now();

// A page that shows what no event tells of says how often it is to be asked for anew, in seconds; the answer may say otherwise.
function keepPace() {
  const every = Number(document.body.dataset.every || 0);
  if (every > 0) {
    setTimeout(() => {
      if (!document.hidden) {
        refresh();
      }
      keepPace();
    }, every * 1000);
  }
}

export function follow() {
  if (!document.body.dataset.events) {
    return;
  }
  keepPace();
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("pagehide", stop);
  if (!document.hidden) {
    start();
  }
}

function start() {
  if (source !== null) {
    return;
  }
  source = new EventSource(document.body.dataset.events);
  source.addEventListener("message", (message) => {
    const event = JSON.parse(message.data);
    const wasTold = failures > 1;
    failures = 0;
    if (wasTold) {
      tell(document.body.dataset.found, true);
    }
    // The first one says how things were when the stream began: the page may be older than that.
    if (event.folders.length > 0 || event.peers || Date.now() - refreshedAt > QUIET_MS) {
      refresh();
    }
  });
  source.addEventListener("error", lost);
}

function stop() {
  if (source !== null) {
    source.close();
    source = null;
  }
}

function lost() {
  stop();
  failures += 1;
  if (failures > 1) {
    tell(document.body.dataset.lost, false);
  }
  setTimeout(() => !document.hidden && start(), Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * failures));
}

function tell(text, isOver) {
  const place = document.getElementById("connection");
  place.textContent = text;
  place.hidden = false;
  if (isOver) {
    setTimeout(() => {
      place.hidden = failures === 0;
    }, 4000);
  }
}

async function refresh() {
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  try {
    const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
    if (answer.status === 401) {
      location.reload();
      return;
    }
    if (answer.ok) {
      replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      refreshedAt = Date.now();
    }
  } catch {
    // The stream will tell when the daemon is back.
  } finally {
    refreshing = false;
    if (again) {
      again = false;
      setTimeout(refresh, 500);
    }
  }
}

function replace(fresh) {
  document.body.dataset.every = fresh.body.dataset.every || 0;
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    // Whoever has opened something, or is about to press it, is not interrupted.
    const isInUse = old.contains(document.activeElement) || old.querySelector("details[open]") !== null;
    if (now !== null && !isInUse && now.innerHTML !== old.innerHTML) {
      old.replaceChildren(...document.adoptNode(now).childNodes);
    }
  }
}
