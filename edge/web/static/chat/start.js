// The first module of the chat. The message field works as soon as this has run; the rest loads after it.
import { Composer } from "./composer.js";
import { openStore } from "./store.js";

const chat = document.getElementById("chat");
const opening = openStore();
const composer = new Composer(document.getElementById("composer"), opening);

// The conversation that the address names, or "". The fragment #main is that of the skip link.
export const addressedId = () => (location.hash === "#main" ? "" : location.hash.slice(1));

// Load the deferred files of the page in parallel. Resolves when the style sheets are applied.
function loadRest() {
  const styles = [];
  for (const href of chat.dataset.deferred.split(" ")) {
    const link = document.createElement("link");
    const isStyle = href.endsWith(".css");
    if (isStyle) styles.push(new Promise((resolve) => { link.onload = link.onerror = resolve; }));
    Object.assign(link, { rel: isStyle ? "stylesheet" : "modulepreload", href });
    document.head.append(link);
  }
  return Promise.all(styles);
}

async function start() {
  composer.focus();
  if (!location.search) await composer.open(addressedId() || "new"); // with a query, the conversation is not known yet
  chat.dataset.ready = "yes";
  try {
    const [{ App }] = await Promise.all([import("./app.js"), loadRest()]);
    await new App(await opening, composer).start();
  } catch (error) {
    document.getElementById("incomplete").hidden = false; // what is typed stays, and is saved as a draft
    throw error;
  }
}

start();
