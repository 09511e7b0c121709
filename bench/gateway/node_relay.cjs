// A plain relay: node node_relay.cjs PORT UPSTREAM. NODE_PATH must contain the package http-proxy.
const http = require('node:http');
const { createProxyServer } = require('http-proxy');

const [port, upstream] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4096, maxFreeSockets: 2048 });
const relay = createProxyServer({ target: `http://${upstream}`, agent });
relay.on('error', (error, _request, response) => {
  if (!response.headersSent) response.writeHead(502);
  response.end(String(error));
});
const server = http.createServer((request, response) => relay.web(request, response));
server.keepAliveTimeout = 300_000;
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
