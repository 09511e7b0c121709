// A chat request as code: curl, and OpenAI's SDKs for Python and Node. Pure.
const VARIABLE = "YOUT_API_KEY";
// Fields that OpenAI's Python SDK has no argument for go into `extra_body`.
const PYTHON_ARGUMENTS = new Set([
  ...["model", "messages", "stream", "stream_options", "temperature", "top_p", "max_completion_tokens", "max_tokens", "stop", "seed"],
  ...["presence_penalty", "frequency_penalty", "reasoning_effort", "tools", "tool_choice", "response_format"],
]);

// Return a value as a Python literal.
export function pythonLiteral(value, indent = 0) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = " ".repeat(indent + 4);
  const items = Array.isArray(value)
    ? value.map((item) => pythonLiteral(item, indent + 4))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${pythonLiteral(item, indent + 4)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const line = open + items.join(", ") + close;
  if (line.length <= 80 && !line.includes("\n")) return line;
  return `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${" ".repeat(indent)}${close}`;
}

function curl(body, baseUrl) {
  const data = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return [
    `curl${body.stream ? " -N" : ""} '${baseUrl}/chat/completions'`,
    `-H "authorization: Bearer $${VARIABLE}"`,
    "-H 'content-type: application/json'",
    `-d '${data}'`,
  ].join(" \\\n  ");
}

function python(body, baseUrl) {
  const known = Object.entries(body).filter(([name]) => PYTHON_ARGUMENTS.has(name));
  const others = Object.entries(body).filter(([name]) => !PYTHON_ARGUMENTS.has(name));
  if (others.length) known.push(["extra_body", Object.fromEntries(others)]);
  const result = body.stream ? "stream" : "completion";
  const show = body.stream
    ? 'for chunk in stream:\n    for choice in chunk.choices:\n        print(choice.delta.content or "", end="")'
    : "print(completion.choices[0].message)";
  return [
    "import os\n\nfrom openai import OpenAI\n",
    `client = OpenAI(base_url=${JSON.stringify(baseUrl)}, api_key=os.environ["${VARIABLE}"])`,
    `${result} = client.chat.completions.create(`,
    ...known.map(([name, value]) => `    ${name}=${pythonLiteral(value, 4)},`),
    ")",
    show,
  ].join("\n");
}

function node(body, baseUrl) {
  const result = body.stream ? "stream" : "completion";
  const show = body.stream
    ? 'for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");'
    : "console.log(completion.choices[0].message);";
  return [
    'import OpenAI from "openai";\n',
    `const client = new OpenAI({ baseURL: ${JSON.stringify(baseUrl)}, apiKey: process.env.${VARIABLE} });`,
    `const ${result} = await client.chat.completions.create(${JSON.stringify(body, null, 2)});`,
    show,
  ].join("\n");
}

// Return the code by language. `baseUrl` ends with /v1.
export function snippets(body, baseUrl) {
  return { curl: curl(body, baseUrl), Python: python(body, baseUrl), Node: node(body, baseUrl) };
}
