// Draws what the node says of the cluster, every other second. Text comes in by textContent alone, so no name or reason
// is ever read as markup.
'use strict';

const PERIOD_MS = 2000;
const POINTS = 150;
const EVENTS_MAX = 200;
const BEHIND = 1000;

const $ = id => document.getElementById(id);

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const short = number => {
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
    if (number >= size) return (number / (unit === 'k' ? 1e3 : size)).toPrecision(3) + unit;
  }
  return Number.isInteger(number) ? String(number) : number.toPrecision(3);
};

// Events: what differs between two looks.

let before = null;

function tell(text, kind) {
  const now = new Date();
  const time = element('time', { datetime: now.toISOString() }, now.toLocaleTimeString());
  $('events').prepend(element('li', kind ? { class: kind } : {}, time, text));
  while ($('events').children.length > EVENTS_MAX) $('events').lastChild.remove();
}

function compare(old, seen) {
  const nodes = new Map(old.nodes.map(node => [node.id, node]));
  for (const node of seen.nodes) {
    const was = nodes.get(node.id);
    if (!was) { tell(`node ${node.id} is new`); continue; }
    if (node.error && !was.error) tell(`node ${node.id} does not answer: ${node.error}`, 'bad');
    if (!node.error && was.error) tell(`node ${node.id} answers again`, 'good');
    for (const trouble of node.troubles) {
      if (!was.troubles.includes(trouble)) tell(`node ${node.id}: ${trouble}`, 'warn');
    }
  }
  const shards = new Map(old.shards.map(shard => [shard.shard, shard]));
  const changed = new Map();
  for (const shard of seen.shards) {
    const was = shards.get(shard.shard);
    if (!was || was.leader === shard.leader) continue;
    const text = shard.leader === null ? 'no leader' : `led by node ${shard.leader}`;
    changed.set(text, (changed.get(text) || []).concat(shard.shard));
  }
  for (const [text, list] of changed) {
    const some = list.slice(0, 8).join(', ') + (list.length > 8 ? ' ...' : '');
    tell(`shard ${some}: ${text}`, text === 'no leader' ? 'bad' : '');
  }
}

// The cluster.

function state(node) {
  if (node.error) return ['bad', `away: ${node.error}`];
  if (node.troubles.length) return ['warn', node.troubles.join('; ')];
  return ['good', 'well'];
}

function drawNodes(seen) {
  $('nodes').replaceChildren(...seen.nodes.map(node => {
    const [kind, text] = state(node);
    const here = node.id === seen.node ? ' (this one)' : '';
    return element('tr', {},
      element('td', {}, node.id + here),
      element('td', { class: kind }, text),
      element('td', { class: 'number' }, String(node.leads)),
      element('td', { class: 'number' }, node.error ? '-' : short(node.behind)),
      element('td', {}, node.client));
  }));
}

function drawShards(seen) {
  $('shards').replaceChildren(...seen.shards.map(shard => {
    const lags = shard.replicas.some(replica => replica.behind > BEHIND);
    const missing = shard.replicas.length < seen.nodes.length;
    const [kind, sign] = shard.leader === null ? ['bad', '! '] : lags || missing ? ['warn', '~ '] : ['', ''];
    const leader = shard.leader === null ? 'no leader' : `node ${shard.leader}`;
    const roles = shard.replicas.map(replica => `node ${replica.node}: ${replica.role}, ${replica.behind} behind`);
    return element('div', { class: `shard ${kind}`, title: `term ${shard.term}\n${roles.join('\n')}` },
      element('b', {}, String(shard.shard)), ` ${sign}${leader}`, element('br'), `${short(shard.keys)} keys`);
  }));
}

function verdict(seen) {
  const away = seen.nodes.filter(node => node.error).length;
  const headless = seen.shards.filter(shard => shard.leader === null).length;
  const troubled = seen.nodes.filter(node => !node.error && node.troubles.length).length;
  if (headless) return ['bad', `${headless} of ${seen.shards.length} shards have no leader: their keys are neither read nor written`];
  if (away) return ['warn', `${away} of ${seen.nodes.length} nodes do not answer`];
  if (troubled) return ['warn', `${troubled} of ${seen.nodes.length} nodes report trouble`];
  return ['good', 'all is well'];
}

function say([kind, text]) {
  $('verdict').className = kind;
  if ($('verdict').textContent !== text) $('verdict').textContent = text;
}

function drawMoves(layout) {
  const moves = layout ? layout.layout.moves : [];
  $('moving').hidden = !moves.length;
  $('moves').replaceChildren(...moves.map((move, at) => {
    const left = layout.keys_left[at];
    return element('li', {}, `from shard ${move.from} to shard ${move.to}: ${short(left)} keys left`);
  }));
}

// This node: counters of its metrics, as rates.

const charts = new Map();

function chart(name, unit, value) {
  if (!charts.has(name)) {
    const number = element('b');
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    svg.setAttribute('viewBox', `0 0 ${POINTS - 1} 100`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('role', 'img');
    svg.setAttribute('aria-label', `${name}, the last minutes`);
    svg.append(line);
    const top = element('span', { class: 'hint' });
    $('charts').append(element('figure', {}, element('figcaption', {}, name, number), svg, top));
    charts.set(name, { values: [], number, line, top });
  }
  const { values, number, line, top } = charts.get(name);
  values.push(value);
  if (values.length > POINTS) values.shift();
  const most = Math.max(...values, 1e-9);
  const place = (value, at) => `${at + POINTS - values.length},${98 - 96 * value / most}`;
  line.setAttribute('points', values.map(place).join(' '));
  number.textContent = short(value) + unit;
  const seconds = values.length * PERIOD_MS / 1000;
  const span = seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  top.textContent = `at most ${short(Math.max(...values))}${unit} in the last ${span}`;
}

function sums(text) {
  const found = new Map();
  for (const line of text.split('\n')) {
    const match = /^([a-z_]+)(?:\{[^}]*\})? ([0-9.e+-]+)/i.exec(line);
    if (match) found.set(match[1], (found.get(match[1]) || 0) + Number(match[2]));
  }
  return found;
}

let last = null;

function drawMetrics(text) {
  const now = { at: performance.now(), sums: sums(text) };
  const of = (look, name) => look.sums.get(name) || 0;
  if (last) {
    const seconds = (now.at - last.at) / 1000;
    const grown = name => Math.max(0, of(now, name) - of(last, name));
    chart('commands', '/s', grown('kv_commands_processed_total') / seconds);
    chart('reads', '/s', grown('quorate_group_reads_total') / seconds);
    chart('writes of this node', '/s', grown('quorate_group_proposals_applied_total') / seconds);
    const syncs = grown('quorate_log_syncs_total');
    chart('time of a sync', ' ms', syncs ? grown('quorate_log_sync_microseconds_total') / syncs / 1000 : 0);
    chart('clients', '', of(now, 'kv_connected_clients'));
    chart('transactions in doubt', '', of(now, 'quorate_transactions_in_doubt'));
  }
  last = now;
}

async function ask(path) {
  const answer = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(8000) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

async function look() {
  try {
    const [seen, layout, metrics] = await Promise.all([
      ask('/overview').then(answer => answer.json()),
      ask('/layout').then(answer => answer.json()),
      ask('/metrics').then(answer => answer.text()),
    ]);
    $('cluster').textContent = seen.cluster;
    $('me').textContent = `(${seen.node})`;
    document.title = `kv ${seen.cluster}`;
    drawNodes(seen);
    drawShards(seen);
    drawMoves(layout);
    drawMetrics(metrics);
    say(verdict(seen));
    if (before) compare(before, seen);
    before = seen;
  } catch (error) {
    say(['bad', `this node does not answer (${error.message}); what follows is old`]);
  }
  setTimeout(look, PERIOD_MS);
}

look();
