// SPDX-License-Identifier: AGPL-3.0-or-later
// A countdown, and a button that copies.

export function countDown() {
  const shown = document.querySelectorAll("[data-countdown]");
  const step = () => {
    for (const place of shown) {
      const left = Math.max(0, Math.round(Number(place.dataset.countdown) - Date.now() / 1000));
      const parts = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60].map((part) => String(part).padStart(2, "0"));
      place.textContent = left > 0 ? parts.join(":") : document.body.dataset.over;
    }
  };
  if (shown.length > 0) {
    step();
    setInterval(step, 1000);
  }
}

export function offerCopy() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const text = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const field = document.getElementById(button.dataset.copy);
      field.select();
      try {
        await navigator.clipboard.writeText(field.value);
      } catch {
        document.execCommand("copy");
      }
      button.textContent = document.body.dataset.copied;
      setTimeout(() => {
        button.textContent = text;
      }, 2000);
    });
  }
}
