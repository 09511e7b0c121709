// A shared conversation: code and formulas as in the chat. Without this script, they are shown as text.

import { formulasNote, improveBlocks, MAX_FORMULAS } from "./code_and_math.js";

for (const message of document.querySelectorAll(".text.markdown")) {
  if (improveBlocks(message) > MAX_FORMULAS) message.append(formulasNote());
}
