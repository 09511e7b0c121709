// The branches of a conversation, and what they send: edge/web/static/chat/tree.js. Prints "ok".
import assert from "node:assert/strict";

const { Tree, isEmptyFailure } = await import(`${process.env.CHAT_MODULES}/tree.js`);
const ids = (messages) => messages.map((message) => message.id).join(" ");

let clock = 0;
const user = (id, parent, fields = {}) => ({ id, parent, role: "user", text: id, status: "complete", created_at: ++clock, ...fields });
const answer = (id, parent, fields = {}) => user(id, parent, { role: "assistant", ...fields });

// Two first messages (an edit), of which the second has three answers, one of them a failure without text.
const tree = new Tree([
  user("u1", null),
  answer("a1", "u1", { credits: 5 }),
  user("u2", null),
  answer("b1", "u2", { credits: 7 }),
  answer("b2", "u2", { status: "failed", text: "", credits: 0 }),
  answer("b3", "u2"),
  user("u3", "b1"),
  answer("c1", "u3"),
]);

assert.equal(ids(tree.path("c1")), "u2 b1 u3 c1");
assert.equal(ids(tree.path("unknown")), "u2 b3"); // the newest branch
assert.equal(tree.newestLeaf("u1"), "a1");
assert.equal(new Tree().newestLeaf(null), null);
assert.deepEqual(new Tree().path(null), []);

assert.deepEqual(tree.position(tree.get("u2")), [1, 2]);
assert.deepEqual(tree.position(tree.get("b3")), [1, 2]); // the failure is no version
assert.deepEqual(tree.position(tree.get("b2")), [1, 3]); // unless it is shown
assert.ok(isEmptyFailure(tree.get("b2")));
assert.equal(tree.walk(tree.get("b3"), -1), "c1"); // to the end of that branch
assert.equal(tree.walk(tree.get("u2"), -1), "a1");
assert.equal(tree.walk(tree.get("u1"), -1), null);
assert.equal(tree.totalCredits(), 12);

// Answers side by side are one version.
tree.put(answer("g1", "u3", { group: "g" }));
tree.put(answer("g2", "u3", { group: "g" }));
assert.deepEqual(tree.position(tree.get("g2")), [1, 2]);
assert.equal(ids(tree.groupOf(tree.get("g2"))), "g1 g2");
assert.equal(tree.walk(tree.get("c1"), 1), "g1");

// A damaged store must not hang the page.
const circle = new Tree([user("x", "y"), user("y", "x")]);
assert.equal(ids(circle.path("x")), "y x");

console.log("ok");
