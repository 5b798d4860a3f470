"use strict";
const drop = document.getElementById("drop");
const chooser = document.getElementById("chooser");
const answers = document.getElementById("answers");

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text) made.textContent = text; // never HTML: class and file names are anybody's
  if (name) made.className = name;
  return made;
}

function bar([label, probability]) {
  const row = element("div", "", "bar");
  const filled = element("span", "", "filled");
  filled.style.width = `${100 * probability}%`;
  row.append(filled, element("span", label, "name"), element("span", `${(100 * probability).toFixed(1)}%`));
  return row;
}

function shown(file, reply) {
  const card = element("article");
  const picture = element("img");
  picture.src = URL.createObjectURL(file);
  picture.alt = "";
  const told = element("div");
  told.append(element("h2", reply.reason ? "It cannot be used" : reply.classes[0][0]));
  told.append(element("p", file.name, "file"));
  if (reply.reason) {
    told.append(element("p", reply.reason));
  } else {
    told.append(...reply.classes.slice(0, 8).map(bar));
    if (reply.prediction_set !== null)
      told.append(element("p", `May be: ${reply.prediction_set.join(", ") || "none of the classes"}`));
    if (reply.unfamiliar) told.append(element("p", "Unfamiliar: it is unlike the training photographs.", "flag"));
    if (reply.nearest.length) told.append(element("p", "Nearest training photographs:", "file"), nearest(reply.nearest));
  }
  card.append(picture, told);
  return card;
}

function nearest(neighbors) {
  const row = element("div", "", "nearest");
  for (const one of neighbors) {
    const figure = element("figure");
    const picture = element("img");
    picture.src = `training/${one.number}`;
    picture.alt = "";
    picture.title = one.path;
    picture.addEventListener("error", () => picture.remove());
    figure.append(picture, element("figcaption", one.label));
    row.append(figure);
  }
  return row;
}

async function ask(files) {
  for (const file of files) {
    const waiting = element("article", `${file.name} ...`);
    answers.prepend(waiting);
    let reply;
    try {
      const response = await fetch(`predict?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
      reply = await response.json();
    } catch {
      reply = { reason: "The command that answers was stopped." };
    }
    waiting.replaceWith(shown(file, reply));
  }
}

drop.addEventListener("click", () => chooser.click());
chooser.addEventListener("change", () => ask(chooser.files));
for (const name of ["dragenter", "dragover"])
  addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
addEventListener("dragleave", () => drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  ask(event.dataTransfer.files);
});
