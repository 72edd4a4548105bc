// A single-page app: links change the address and what is shown, without a load.
"use strict";

const show = () => {
  const main = document.getElementById("main");
  const title = document.createElement("h1");
  title.textContent = `This is what there is to see at ${location.pathname}, and it is the largest thing in view`;
  main.replaceChildren(title);
};

document.addEventListener("click", (event) => {
  const link = event.target.closest("nav a");
  if (link) {
    event.preventDefault();
    history.pushState({}, "", link.href);
    // As an app that asks its server first.
    fetch("/api/good").then(show);
  }
});
addEventListener("popstate", show);
show();
