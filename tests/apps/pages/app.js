// The pages' own script: what a user does here goes wrong in known ways.
"use strict";

// What the page itself sees of errors and rejections.
window.seen = [];
addEventListener("error", (event) => seen.push("error: " + event.message));
addEventListener("unhandledrejection", (event) => seen.push("rejection: " + String(event.reason)));

const on = (id, run) => document.getElementById(id)?.addEventListener("click", run);

on("throw", function placeOrder() {
  throw new TypeError("no order to place");
});
on("reject", () => {
  Promise.reject(new RangeError("out of stock"));
});
on("busy", () => {
  // Long enough to be felt: an interaction to be found.
  const end = performance.now() + 150;
  while (performance.now() < end);
  document.getElementById("text").textContent = "Done.";
});
on("fail", () => {
  // Nobody takes care of the second.
  fetch("/api/broken?token=secret").then(() => fetch("http://127.0.0.1:1/nobody"));
});

// Parts that come late push the rest down, long after the page is there.
const late = document.getElementById("late");
if (late) {
  addEventListener("load", () =>
    setTimeout(() => {
      late.className = "late";
      requestAnimationFrame(() => setTimeout(() => (window.moved = true)));
    }, 100),
  );
}
