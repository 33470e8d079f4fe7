// A page of ours in Chromium, used as a person uses it. One argument, in JSON: what `Use` in
// test_browser.py holds. Prints "listening" once a subscription runs, then what was seen, in JSON.
import { createRequire } from 'node:module';

const told = JSON.parse(process.argv[2]);
const { chromium } = createRequire(`${told.folder}/`)('playwright-core');
const LIMIT = 60_000;

const context = await chromium.launchPersistentContext(told.profile, {
  executablePath: told.chromium,
  headless: true,
  timeout: LIMIT,
  viewport: { width: 1280, height: 900 },
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', // what Chromium asks by itself, too
  ],
});
context.setDefaultTimeout(LIMIT);
const seen = { asked: [], complaints: [] };
const page = context.pages()[0] ?? await context.newPage();
context.on('request', (request) => seen.asked.push(request.url()));
page.on('websocket', (socket) => seen.asked.push(socket.url()));
page.on('pageerror', (error) => seen.complaints.push(error.message));
page.on('console', (message) => {
  if (['error', 'warning'].includes(message.type())) seen.complaints.push(message.text());
});
const shoot = (name) => page.screenshot({ path: `${told.pictures}/${name}.png` });

// Writes an operation, and waits until GraphiQL has read it: a tenth of a second later.
async function write(text) {
  await page.locator('.graphiql-query-editor .CodeMirror').click();
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.insertText(text);
  const [, name] = /^\w+ (\w+)/.exec(text);
  await page.waitForFunction((one) => localStorage['graphiql:operationName'] === one, name);
}

// The result pane's JSON, once it holds the text.
async function result(text) {
  const pane = page.locator('.result-window .CodeMirror-code').filter({ hasText: text });
  return JSON.parse((await pane.innerText()).replaceAll('\u00a0', ' ').replaceAll('\u200b', ''));
}

// What an operation answers, tried with the body that the page proposes.
async function tried({ method, path, parameters }) {
  const block = page.locator('.opblock', {
    has: page.locator(`.opblock-summary-path[data-path="${path}"]`),
  }).filter({ has: page.locator('.opblock-summary-method', { hasText: new RegExp(`^${method}$`) }) });
  await block.locator('.opblock-summary').click();
  await block.getByRole('button', { name: 'Try it out' }).click();
  for (const [place, value] of parameters.entries()) {
    await block.locator('.parameters input').nth(place).fill(value);
  }
  await block.getByRole('button', { name: 'Execute' }).click();
  const table = block.locator('.live-responses-table');
  await table.scrollIntoViewIfNeeded();
  await shoot(`tried-${method}`);
  return {
    status: await table.locator('tbody .response-col_status').innerText(),
    body: JSON.parse(await table.locator('.highlight-code code').first().innerText()),
  };
}

const uses = {
  async graphiql() {
    await page.goto(`${told.url}/graphql`);
    const run = page.locator('button.graphiql-execute-button');
    await write(told.query);
    await run.click();
    seen.answer = await result('data');
    await shoot('query');
    await write(told.subscription);
    await run.click();
    await page.getByLabel('Stop query').waitFor();
    console.log('listening');
    seen.event = await result(told.title);
    await shoot('subscription');
    await page.getByLabel('Stop query').click();
    await page.getByLabel('Execute query').waitFor();
  },

  async docs() {
    await page.goto(`${told.url}/docs`);
    if (told.token) {
      await page.getByLabel('API token').fill(told.token);
      await page.getByRole('button', { name: 'Open' }).click();
    }
    await page.locator('.opblock').first().waitFor();
    await shoot('operations');
    seen.operations = await page.locator('.opblock').evaluateAll((blocks) => blocks.map((one) => [
      one.querySelector('.opblock-summary-method').innerText,
      one.querySelector('.opblock-summary-path').dataset.path,
    ]));
    seen.tried = [];
    for (const one of told.tries) seen.tried.push(await tried(one));
  },
};

try {
  await uses[told.use]();
} catch (error) {
  await shoot('failed');
  throw error;
} finally {
  await context.close();
}
console.log(JSON.stringify(seen));
