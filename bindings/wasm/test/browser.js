// A headless Chromium, and a directory served to it. Where it is: $CHROMIUM, or Debian's place.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { chromium } from 'playwright-core';

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm' };
// It asks nobody for anything of its own.
const QUIET = ['--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', ...QUIET],
  });
}

/** Serves the files below `directory`: its url, how many requests came, and how to stop it. `each` is told of each path. */
export async function serve(directory, each = () => {}) {
  let requests = 0;
  const server = createServer(async (request, response) => {
    requests += 1;
    const path = normalize(decodeURIComponent(new URL(request.url, 'http://localhost').pathname));
    each(path);
    const name = path.endsWith('/') ? `${path}index.html` : path;
    try {
      const bytes = await readFile(join(directory, name));
      response.writeHead(200, { 'Content-Type': TYPES[extname(name)] ?? 'application/octet-stream' }).end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    requests: () => requests,
    stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}
