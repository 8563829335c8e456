// Takes pictures: reads {prometheus, dashboards, chromium, pictures: [{path, query, width, rows?, panel?, sight?}]} from stdin, and
// writes a line of JSON for each: {path, panels: [{title, hasData, error?}], errors: [...]}.
// Serves the bundled page, the dashboards, and what the page asks of Prometheus.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import puppeteer from 'puppeteer-core';

const { prometheus, dashboards, chromium, pictures } = JSON.parse(fs.readFileSync(0, 'utf8'));
const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const PAGE = '<!doctype html><meta charset=utf8><link rel=stylesheet href=/page.css><body style="margin:0"><div id=root></div><script type=module src=/page.js></script>';
const WEIGHTS = { 'Inter-Regular': 400, 'Inter-Medium': 500 };

function fileOf(address) {
  const name = path.basename(address), weight = WEIGHTS[path.basename(address, '.woff2')];
  if (address.startsWith('/dashboards/')) return path.join(dashboards, name);
  if (weight) return `node_modules/@fontsource/inter/files/inter-latin-${weight}-normal.woff2`;
  if (address.includes('/img/icons/')) return path.join('node_modules/@grafana/ui/dist/public', address.slice(address.indexOf('/img/icons/')));
  return path.join('dist', name);
}

const server = http.createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  try {
    if (pathname.startsWith('/api/')) {
      const answer = await fetch(prometheus + request.url);
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
    } else if (pathname === '/') response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
    else {
      const file = fileOf(pathname), content = fs.readFileSync(file);
      response.writeHead(200, { 'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream' }).end(content);
    }
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));

const browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox', '--force-device-scale-factor=1', '--hide-scrollbars', '--disable-gpu'] });
for (const picture of pictures) {
  const tab = await browser.newPage(), errors = [];
  tab.on('pageerror', (error) => errors.push(String(error.stack ?? error)));
  if (picture.sight) await tab.emulateVisionDeficiency(picture.sight);
  await tab.setViewport({ width: picture.width, height: 1000 });
  await tab.goto(`http://127.0.0.1:${server.address().port}/?${new URLSearchParams(picture.query)}`);
  const drawn = await (await tab.waitForFunction('window.drawn', { timeout: 60_000 })).jsonValue();
  // up to the beginning of a row, or all of it
  const bottom = picture.rows ? await tab.evaluate((rows) => document.querySelectorAll('.row')[rows].getBoundingClientRect().top, picture.rows) : drawn.height;
  await tab.setViewport({ width: picture.width, height: Math.ceil(drawn.height) });
  await tab.evaluate(() => new Promise((done) => setTimeout(done, 300)));
  fs.mkdirSync(path.dirname(picture.path), { recursive: true });
  const all = { x: 0, y: 0, width: picture.width, height: Math.ceil(bottom) };
  const clip = picture.panel ? await (await tab.$(`[data-title="${picture.panel}"]`)).boundingBox() : all;
  await tab.screenshot({ path: picture.path, clip });
  console.log(JSON.stringify({ path: picture.path, panels: drawn.panels, errors }));
  await tab.close();
}
await browser.close();
process.exit(0);
