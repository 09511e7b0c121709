// The chat: sends messages to the native API, streams the answer, and shows its cost.

import { renderMarkdown } from "./markdown.js";

(() => {
  const root = document.getElementById("chat");
  if (!root) return;
  const byId = (id) => document.getElementById(id);
  const [talk, ask, prompt, model, keep] = ["talk", "ask", "prompt", "model", "keep"].map(byId);
  const [send, stop, share, fresh, shared, standing] = ["send", "stop", "share", "fresh", "shared", "standing"].map(byId);
  const signedIn = "signedIn" in root.dataset;
  const token = document.querySelector("meta[name=csrf-token]")?.content;

  let messages = []; // the conversation so far; sent with the next turn unless the server stores it
  let conversation = null;
  let running = null; // the AbortController of the running answer

  function formatCredits(amount) {
    return String(amount).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
  }

  function element(tag, name, text = "") {
    const made = document.createElement(tag);
    made.className = name;
    made.textContent = text;
    return made;
  }

  async function call(path, body) {
    const headers = { "content-type": "application/json", accept: "application/json" };
    if (token) headers["x-csrf-token"] = token;
    return fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal: running?.signal });
  }

  // Scroll with new content, unless the user has scrolled up.
  function scrollAlong(change) {
    const page = document.scrollingElement;
    const atEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
    change();
    if (atEnd) page.scrollTop = page.scrollHeight;
  }

  function addMine(text) {
    const item = element("li", "");
    const mine = element("div", "mine", text);
    mine.dir = "auto";
    item.append(mine);
    talk.append(item);
    byId("welcome").hidden = true;
  }

  function addAnswer() {
    const item = element("li", "");
    const said = element("div", "said waiting");
    said.dir = "auto";
    item.append(said);
    talk.append(item);
    return { item, said, text: "", thought: null };
  }

  function think(answer, words) {
    if (!answer.thought) {
      const box = element("details", "thought");
      box.append(element("summary", "", "Reasoning"), element("div", ""));
      answer.item.prepend(box);
      answer.thought = box.lastChild;
    }
    answer.thought.textContent += words;
  }

  function say(answer, words) {
    answer.text += words;
    if (answer.drawing) return; // render once per animation frame, not per delta
    answer.drawing = requestAnimationFrame(() => {
      answer.drawing = 0;
      scrollAlong(() => renderMarkdown(answer.said, answer.text, { streaming: true }));
    });
  }

  function fail(answer, words, code) {
    const box = element("p", "failed", words);
    box.setAttribute("role", "alert");
    if (code === "insufficient_credits") box.append(" ", linkTo("/account", "Your balance"));
    else if (code === "invalid_api_key" || code === "daily_allowance_exhausted") box.append(" ", linkTo("/sign-in?next=/chat", "Sign in"));
    answer.item.append(box);
  }

  function linkTo(address, words) {
    const made = element("a", "", words);
    made.href = address;
    return made;
  }

  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
    }
  }

  async function stream(answer, body) {
    const response = await call("/api/chat/stream/", body);
    if (!response.ok) {
      const { error } = await response.json();
      fail(answer, error.message, error.code);
      return false;
    }
    for await (const event of events(response)) {
      if (event.delta !== undefined) say(answer, event.delta);
      else if (event.reasoning !== undefined) think(answer, event.reasoning);
      else if (event.error) {
        fail(answer, event.error.message, event.error.code);
        return false;
      } else if (event.done) {
        finish(answer, event);
        return true;
      }
    }
    fail(answer, "The connection closed before the answer was complete.");
    return false;
  }

  function finish(answer, event) {
    conversation = event.conversation_id ?? conversation;
    const cost = event.credits_charged === 1 ? "1 credit" : `${formatCredits(event.credits_charged)} credits`;
    answer.item.append(element("p", "cost", event.finish_reason === "length" ? `${cost}. The answer reached its length limit.` : cost));
    showBalance(event.balance);
    byId("spoken").textContent = "Answer complete.";
  }

  function showBalance(amount) {
    standing.textContent = signedIn ? `Balance: ${formatCredits(amount)} credits` : `Remaining today: ${formatCredits(amount)} credits`;
  }

  function busy(is) {
    send.hidden = is;
    stop.hidden = !is;
    model.disabled = is;
    share.hidden = is || !signedIn || messages.length === 0;
    fresh.hidden = is || talk.childElementCount === 0;
  }

  async function turn(text) {
    const said = { role: "user", content: text };
    const keeping = Boolean(keep?.checked);
    // A stored conversation is already on the server; otherwise send all messages.
    const body = { model: model.value, messages: keeping && conversation ? [said] : [...messages, said] };
    if (keeping) body.store = true;
    if (keeping && conversation) body.conversation_id = conversation;
    scrollAlong(() => addMine(text));
    const answer = addAnswer();
    running = new AbortController();
    busy(true);
    let whole = false;
    try {
      whole = await stream(answer, body);
    } catch (error) {
      if (error.name !== "AbortError") fail(answer, "The connection was lost.");
      else answer.item.append(element("p", "cost", "Stopped. You are charged for what was delivered."));
    }
    cancelAnimationFrame(answer.drawing);
    answer.said.classList.remove("waiting");
    renderMarkdown(answer.said, answer.text);
    if (answer.text) messages = [...messages, said, { role: "assistant", content: answer.text }];
    running = null;
    busy(false);
    if (!whole) await showStanding();
    if (!whole && !answer.text && !prompt.value) prompt.value = text; // so that the user can retry
  }

  async function showStanding() {
    const response = await call("/api/chat/limit/");
    if (!response.ok) return;
    const limit = await response.json();
    showBalance(limit.kind === "account" ? limit.balance - limit.held : limit.remaining);
  }

  async function publish() {
    const first = messages.find((message) => message.role === "user")?.content ?? "";
    const title = first.replace(/\s+/g, " ").trim().slice(0, 80) || "Conversation";
    share.disabled = true;
    const response = await call("/api/chat/share/", conversation ? { conversation_id: conversation } : { title, messages });
    const answer = await response.json();
    share.disabled = false;
    shared.hidden = false;
    shared.classList.toggle("bad", !response.ok);
    if (response.ok) {
      shared.replaceChildren("Anyone with this link can read it until you revoke it under ", linkTo("/account/shares", "Shares"), ": ", linkTo(answer.url, answer.url));
    } else shared.textContent = answer.error.message;
  }

  async function open(id) {
    const response = await call(`/api/chat/conversations/${encodeURIComponent(id)}/`);
    if (!response.ok) return;
    const stored = await response.json();
    conversation = stored.id;
    for (const message of stored.messages) {
      const text = typeof message.content === "string" ? message.content : message.content.map((part) => part.text ?? "").join("\n\n");
      if (message.role === "user") addMine(text);
      else if (message.role === "assistant") {
        const answer = addAnswer();
        answer.said.classList.remove("waiting");
        renderMarkdown(answer.said, text);
      }
      messages.push({ role: message.role, content: text });
    }
    if (keep) keep.checked = true;
    busy(false);
    document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight;
  }

  ask.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = prompt.value.trim();
    if (!text || running) return;
    prompt.value = "";
    turn(text);
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && matchMedia("(hover: hover)").matches) {
      event.preventDefault();
      ask.requestSubmit();
    }
  });
  stop.addEventListener("click", () => running?.abort());
  share.addEventListener("click", publish);
  fresh.addEventListener("click", () => {
    [messages, conversation] = [[], null];
    talk.replaceChildren();
    shared.hidden = true;
    byId("welcome").hidden = false;
    history.replaceState(null, "", "/chat");
    busy(false);
    prompt.focus();
  });

  showStanding();
  const wanted = new URLSearchParams(location.search).get("conversation");
  if (wanted && signedIn) open(wanted);
})();
