// The node's page: one stream of whole states, drawn as it comes. Everything that comes from the node is put into the
// page as text, never as markup.
'use strict';

const POINTS_MAX = 600;          // as many as the node keeps
const POINT_INTERVAL_MS = 1000;  // a chart has less than one pixel a second
const GAP_MS = 15000;            // a line is broken where nothing is known for this long
const QUIET_MS = 10000;          // after this much silence the page says so
const RECONNECT_MS = 3000;

/** @type {Map<string, {expo: number, points: Array}>} the past of each feed */
const past = new Map();
/** @type {Map<string, object>} the elements of each feed's card */
const cards = new Map();
/** The newest state, and when it came by this page's own clock. */
let live = null;
let receivedAt = 0;

// ---- stream ----

function connect() {
  const stream = new EventSource('/v1/stream');
  stream.addEventListener('open', loadPast);
  stream.addEventListener('snapshot', (event) => {
    live = JSON.parse(event.data);
    receivedAt = performance.now();
    draw();
  });
  stream.addEventListener('error', () => {
    drawLink();
    // The browser comes back by itself after a broken connection, but not after a refusal.
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, RECONNECT_MS);
  });
}

async function loadPast() {
  try {
    const { feeds } = await (await fetch('/v1/feeds')).json();
    await Promise.all(feeds.map(async ({ feed }) => {
      const answer = await fetch(`/v1/prices/${encodeURIComponent(feed)}/history`);
      if (!answer.ok) return;
      const { expo, points } = await answer.json();
      past.set(feed, { expo, points });
    }));
    if (live) draw();
  } catch {
    // The stream goes on without a past; the next connection asks again.
  }
}

/** Now by the node's clock, which may not be this machine's. */
const nodeNow = () => live.as_of_ms + (performance.now() - receivedAt);

// ---- numbers and names ----

/** Order of things by the names that people gave them; numbers in names count as numbers. */
const byName = (a, b) => a.name.localeCompare(b.name, 'en', { numeric: true });

/** Exact decimal text of mantissa * 10^expo, with at most `places` decimals (cut, not rounded). */
function decimal(mantissa, expo, places) {
  const negative = mantissa.startsWith('-');
  let digits = negative ? mantissa.slice(1) : mantissa;
  if (expo >= 0) digits += '0'.repeat(expo);
  const decimals = Math.max(0, -expo);
  digits = digits.padStart(decimals + 1, '0');
  const whole = digits.slice(0, digits.length - decimals).replace(/\B(?=(\d{3})+$)/g, '\u2009');
  const fraction = decimals ? digits.slice(-decimals).slice(0, places) : '';
  return (negative ? '\u2212' : '') + whole + (fraction ? '.' + fraction : '');
}

/** Decimals worth showing: about six significant digits. */
function places(mantissa, expo) {
  const whole = mantissa.replace('-', '').length + expo;
  return Math.max(0, Math.min(-expo, whole > 3 ? 2 : 6 - whole));
}

const shown = (mantissa, expo) => decimal(mantissa, expo, places(mantissa, expo));
const short = (id) => (/^(0x)?[0-9a-f]{16,}$/i.test(id) || /^(Qm|12D3)\w{20,}$/.test(id) ? `${id.slice(0, 8)}\u2026${id.slice(-4)}` : id || '\u2013');
const clock = (ms) => new Date(ms).toISOString().slice(11, 19) + ' UTC';

function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

const nameOf = (author) => live.oracles.find((oracle) => oracle.author === author)?.name || short(author);

// ---- elements ----

/** An element with attributes and children; strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function svg(tag, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Text that goes on counting: how long ago `ms` was. */
function age(ms) {
  if (ms === null || ms === undefined) return '\u2013';
  return make('span', { 'data-at': String(ms), title: clock(ms) }, ago(nodeNow() - ms));
}

const id = (text) => make('span', { class: 'id', title: text || '' }, short(text));
const TONES = { ok: 'good', active: 'good', closed: 'good', degraded: 'warn', stale: 'warn', half_open: 'warn',
  silent: 'idle', halted: 'bad', forked: 'bad', open: 'bad' };
const pill = (word) => make('span', { class: `pill ${TONES[word] || 'idle'}` }, word.replace('_', ' '));
const yes = (on, word, otherwise) => make('span', { class: on ? 'good' : 'bad' }, on ? word : otherwise);

/** Replaces a block only when what it shows has changed, so that selected text stays selected. */
const drawn = new Map();
function redraw(blockId, data, build) {
  const key = JSON.stringify(data);
  if (drawn.get(blockId) === key) return;
  drawn.set(blockId, key);
  document.getElementById(blockId).replaceChildren(build());
}

/** `columns` are [title, class]; each row is a list of cells, with the row's class first. */
function table(columns, rows, none) {
  if (!rows.length) return make('p', { class: 'muted none' }, none);
  const head = make('tr', {}, ...columns.map(([title, kind]) => make('th', { class: kind, scope: 'col' }, title)));
  const body = rows.map(([kind, ...cells]) =>
    make('tr', { class: kind }, ...cells.map((cell, i) => make('td', { class: columns[i][1] }, cell))));
  return make('table', {}, make('thead', {}, head), make('tbody', {}, ...body));
}

// ---- blocks ----

function draw() {
  const { node } = live;
  document.getElementById('node').textContent = `${node.id} \u00b7 version ${node.version} \u00b7 network ${short(node.network_id)}`;
  document.title = `${node.id} \u2013 Concurrence`;
  drawLink();
  drawBanner();
  drawFeeds();
  redraw('oracles', [live.oracles, live.anomalies], oracles);
  redraw('peers', live.peers, peers);
  redraw('sources', live.sources.map(({ price_age_ms, ...rest }) => rest), sources);
  redraw('anomalies', [live.anomalies, live.oracles.map((oracle) => oracle.name)], anomalies);
  document.getElementById('frontier').textContent =
    `frontier ${live.frontier.digest} \u00b7 ${live.frontier.ops} operations \u00b7 up ${ago(nodeNow() - node.started_ms)}`;
}

function drawLink() {
  const link = document.getElementById('link');
  const quiet = performance.now() - receivedAt;
  const [word, tone] = !live ? ['connecting', 'waiting']
    : quiet > QUIET_MS ? [`no update for ${ago(quiet)}`, 'bad'] : ['live', 'good'];
  link.textContent = word;
  link.className = `pill ${tone}`;
}

function drawBanner() {
  const banner = document.getElementById('banner');
  const lines = live.readiness.reasons.map(({ detail, code }) => detail || code);
  if (live.node.recovering) lines.unshift('recovering: this node serves and syncs, and appends nothing until its own log is known to be whole');
  banner.hidden = live.readiness.ready && !live.node.recovering;
  banner.textContent = live.readiness.ready ? lines.join('; ') : `not ready: ${lines.join('; ')}`;
}

function drawFeeds() {
  const names = live.feeds.map(({ feed }) => feed);
  if (names.join() !== [...cards.keys()].join()) {
    cards.clear();
    names.forEach((name) => cards.set(name, card(name)));
    document.getElementById('feeds').replaceChildren(...[...cards.values()].map(({ root }) => root));
  }
  for (const feed of live.feeds) {
    remember(feed);
    fill(cards.get(feed.feed), feed);
  }
}

function card(name) {
  const parts = {
    status: make('span'), price: make('p', { class: 'price' }), facts: make('p', { class: 'muted facts' }),
    chart: make('div', { class: 'chart' }), caption: make('p', { class: 'muted' }), cursor: null,
  };
  parts.root = make('article', { class: 'card' },
    make('div', { class: 'card-head' }, make('h3', {}, name), parts.status),
    parts.price, parts.facts, parts.chart, parts.caption);
  parts.chart.addEventListener('pointermove', (event) => {
    const box = parts.chart.getBoundingClientRect();
    parts.cursor = (event.clientX - box.left) / box.width;
    chart(parts, past.get(name));
  });
  parts.chart.addEventListener('pointerleave', () => {
    parts.cursor = null;
    chart(parts, past.get(name));
  });
  return parts;
}

function fill(parts, feed) {
  parts.status.replaceChildren(pill(feed.status));
  parts.price.textContent = feed.price === null ? 'no price' : shown(feed.price, feed.expo);
  const weight = feed.total_weight ? Math.round((100 * feed.counted_weight) / feed.total_weight) : 0;
  const facts = [];
  if (feed.interval) {
    const width = (Number(feed.interval[1]) - Number(feed.interval[0])) / 2 / Number(feed.price) * 10000;
    facts.push(`\u00b1 ${width.toFixed(width < 10 ? 1 : 0)} bps, `);
  }
  facts.push(`${feed.oracle_count} oracles with ${weight} % of the weight, ${feed.source_count} sources, `,
    `${feed.active_sources} of this node`);
  if (feed.price !== null) facts.push(', ', age(feed.as_of_ms), ' old');
  if (!feed.fault_tolerance) facts.push('; too few oracles to tolerate a faulty one');
  parts.facts.replaceChildren(...facts);
  chart(parts, past.get(feed.feed));
}

/** Adds the newest answer to the feed's past. */
function remember(feed) {
  if (!past.has(feed.feed)) past.set(feed.feed, { expo: feed.expo, points: [] });
  const { points } = past.get(feed.feed);
  const last = points.at(-1);
  if (last && live.as_of_ms < last.as_of_ms + POINT_INTERVAL_MS) return;
  points.push({ as_of_ms: live.as_of_ms, price: feed.price, interval: feed.interval, status: feed.status });
  points.splice(0, points.length - POINTS_MAX);
}

function oracles() {
  const proofs = new Map(live.anomalies.filter(({ kind }) => kind === 'fork').map((fork) => [fork.oracle, fork]));
  const rows = [...live.oracles].sort(byName).map((oracle) => {
    const proof = proofs.get(oracle.author);
    const evidence = !proof ? '' : Object.entries(proof.evidence).map(([key, value]) => `${key} ${short(value)}`).join(', ');
    const status = make('span', {}, pill(oracle.status));
    if (evidence) status.append(make('span', { class: 'muted id proof' }, `proof: ${evidence}`));
    const seen = oracle.last_slot === null ? '\u2013' : age(oracle.last_slot * 1000);
    return [oracle.status === 'forked' ? 'forked' : '', make('span', { class: 'name' }, oracle.name || '\u2013'),
      status, String(oracle.weight), seen, String(oracle.ops), id(oracle.author)];
  });
  const columns = [['oracle', ''], ['status', ''], ['weight', 'num'], ['last attested', 'num'], ['operations', 'num'], ['author', '']];
  return table(columns, rows, 'no oracle is registered');
}

function peers() {
  const rows = [...live.peers].sort(byName).map((peer) => ['', peer.name || id(peer.peer),
    !peer.admitted ? yes(false, '', 'not admitted') : yes(peer.connected, 'connected', 'unreachable'),
    peer.connected ? yes(peer.in_sync, 'in sync', 'behind or ahead') : '\u2013',
    peer.clock_offset_ms === null ? '\u2013' : `${peer.clock_offset_ms} ms`, age(peer.last_seen_ms)]);
  const columns = [['peer', ''], ['connection', ''], ['state', ''], ['clock', 'num'], ['last seen', 'num']];
  return table(columns, rows, 'no peer is configured');
}

function sources() {
  const rows = live.sources.map((source) => {
    const requests = Object.entries(source.requests).map(([word, n]) => `${word} ${n}`).join(', ');
    const state = make('span', {}, yes(source.up, 'up', 'down'));
    if (source.breaker !== 'closed') state.append(' ', pill(source.breaker));
    if (source.last_error) state.append(make('span', { class: 'muted' }, ` ${source.last_error}`));
    return ['', source.source, state, age(source.price_ms), requests];
  });
  return table([['source', ''], ['state', ''], ['price age', 'num'], ['requests', '']], rows, 'no source is configured');
}

function anomalies() {
  const rows = live.anomalies.map((anomaly) => {
    const evidence = make('span', { class: 'id' });
    Object.entries(anomaly.evidence).forEach(([key, value], i) =>
      evidence.append(make('span', { title: value }, `${i ? ', ' : ''}${key} ${short(value)}`)));
    return [anomaly.kind === 'fork' ? 'forked' : '', make('span', { class: 'name' }, anomaly.kind.replace('_', ' ')),
      nameOf(anomaly.oracle), anomaly.feed || '\u2013', String(anomaly.count), age(anomaly.last_ms), evidence];
  });
  const columns = [['kind', ''], ['oracle', ''], ['feed', ''], ['times', 'num'], ['last seen', 'num'], ['evidence', '']];
  return table(columns, rows, 'none seen');
}

// ---- chart ----

const WIDTH = 600;
const HEIGHT = 150;

function chart(parts, history) {
  const points = history ? history.points : [];
  const known = points.filter(({ price }) => price !== null);
  if (known.length < 2) {
    parts.chart.replaceChildren(make('div', { class: 'empty muted' }, 'no history yet'));
    parts.caption.textContent = '\u00a0';
    return;
  }
  const from = points[0].as_of_ms;
  const span = Math.max(1, points.at(-1).as_of_ms - from);
  const prices = known.map(({ price }) => Number(price));
  const least = Math.min(...prices);
  const most = Math.max(...prices);
  const margin = Math.max((most - least) * 0.25, most * 0.0003);
  const [low, high] = [least - margin, most + margin];
  const x = (ms) => ((ms - from) / span) * WIDTH;
  const y = (price) => ((high - Number(price)) / (high - low)) * HEIGHT;
  const picture = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': 'price over time' });
  picture.append(...stretches(points).flatMap((stretch) => shapes(stretch, x, y)));

  const at = parts.cursor === null ? points.at(-1) : nearest(points, from + parts.cursor * span);
  if (parts.cursor !== null) picture.append(svg('line', { class: 'cursor', x1: x(at.as_of_ms), x2: x(at.as_of_ms), y1: 0, y2: HEIGHT }));
  const { expo } = history;
  const scale = (value, where) => make('span', { class: `scale ${where}` }, shown(BigInt(Math.round(value)).toString(), expo));
  parts.chart.replaceChildren(picture, scale(high, 'top'), scale(low, 'bottom'));
  const price = at.price === null ? 'no price' : shown(at.price, expo);
  parts.caption.textContent = parts.cursor === null ? `last ${ago(span)}` : `${clock(at.as_of_ms)}: ${price}, ${at.status}`;
}

const nearest = (points, ms) =>
  points.reduce((best, point) => (Math.abs(point.as_of_ms - ms) < Math.abs(best.as_of_ms - ms) ? point : best));

/** Runs of one status without gaps; each run but the first begins with the point before it, so that lines join. */
function stretches(points) {
  const runs = [];
  for (const point of points) {
    const run = runs.at(-1);
    const last = run && run.at(-1);
    if (last && point.as_of_ms - last.as_of_ms <= GAP_MS) {
      if (last.status === point.status) { run.push(point); continue; }
      if (last.price !== null && point.price !== null) { runs.push([{ ...last, status: point.status }, point]); continue; }
    }
    runs.push([point]);
  }
  return runs;
}

function shapes(stretch, x, y) {
  const first = stretch[0];
  const last = stretch.at(-1);
  if (first.price === null) {
    return [svg('rect', { class: 'halted', x: x(first.as_of_ms), y: 0, width: Math.max(1, x(last.as_of_ms) - x(first.as_of_ms)), height: HEIGHT })];
  }
  const path = (list, value) => list.map((point) => `${x(point.as_of_ms).toFixed(1)},${y(value(point)).toFixed(1)}`).join(' ');
  const word = ['ok', 'degraded', 'stale'].includes(last.status) ? last.status : 'stale';
  const line = svg('polyline', { class: `line ${word}`, points: path(stretch, ({ price }) => price) });
  const banded = stretch.filter(({ interval }) => interval);
  if (banded.length < 2) return [line];
  const outline = `${path(banded, ({ interval }) => interval[1])} ${path([...banded].reverse(), ({ interval }) => interval[0])}`;
  return [svg('polygon', { class: 'band', points: outline }), line];
}

// ---- clockwork ----

setInterval(() => {
  if (!live) return;
  drawLink();
  const now = nodeNow();
  document.querySelectorAll('[data-at]').forEach((element) => { element.textContent = ago(now - Number(element.dataset.at)); });
}, 1000);

connect();
