// The document, the address of the page, and elements. Whatever comes from the document becomes text, never markup.

const {live, walk, run} = read(JSON.parse(document.getElementById('document').textContent));

/// A run is shown as a walk with one way and nothing else.
function read({live, walk, run}) {
  if (walk) return {live, walk, run: null};
  const rows = run.events.map(event => ({...event, state: null, fault: null, detail: false}));
  const meaning = [run.reason, `installed: ${run.installed}`].filter(Boolean).join('; ');
  const only = {path: '', rows, end: run.end, meaning, clean: run.wrong.length === 0};
  const nothing = {wrong: [], ends: [], scripts: [], situations: [], states: [], moves: []};
  return {live: false, walk: {...nothing, title: run.title, complaints: run.wrong, undisturbed: only}, run};
}

/// An element; attributes that are null, undefined or false are left out, and those that begin with `on` are listeners.
function el(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/// An element of a drawing.
function draw(name, attributes, ...children) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat(2).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

const at = id => document.getElementById(id);

/// A time since the start: `1:02:03`.
function clock(seconds) {
  const two = number => String(number).padStart(2, '0');
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

const counted = (number, one, more) => `${number.toLocaleString('en')} ${number === 1 ? one : more}`;

/// The sign and the word of an end; the sign says what the colour says.
const SIGNS = {brick: '✖', inconsistent: '≠', misreported: '✗', failed: '↩', updated: '✔', success: '✔', failure: '↩', 'not over': '✖'};

// ---- paths: the choices that are not 0, `14.3,52.7`

const PATH = /^(\d+\.\d+(,\d+\.\d+)*)?$/;

/// The path with another choice at a step, and none behind it.
function injected(path, step, choice) {
  const kept = path.split(',').filter(part => part && parseInt(part, 10) < step);
  return (choice === 0 ? kept : [...kept, `${step}.${choice}`]).join(',');
}

const command = (verb, path) => `thimble-sim ${verb} ${walk.options} --path '${path}'`;

/// The command that shows a way once more.
const again = ({path}) => run ? run.again : command('explore', path);

/// All ways that the document has, by their paths.
const ways = new Map();
for (const {wrong, count, way} of walk.wrong) ways.set(way.path, {...way, count, wrong});
for (const {count, way} of walk.ends) ways.set(way.path, {...ways.get(way.path), ...way, count});
ways.set(walk.undisturbed.path, {...ways.get(walk.undisturbed.path), ...walk.undisturbed});
for (const {good} of [...ways.values()]) if (good && !ways.has(good.path)) ways.set(good.path, good);

/// A way: from the document, or from the real core, which the server runs. `null`: only a server could tell.
async function fetched(path) {
  const known = ways.get(path);
  if (!live || known && known.rows.every(row => row.others)) return known || null;
  const answer = await fetch(`/path?at=${path}`, {headers: {accept: 'application/json'}});
  if (!answer.ok) throw new Error(await answer.text());
  const way = {...known, ...await answer.json()};
  ways.set(path, way);
  return way;
}

// ---- the address: `#path=14.3,52.7&step=52&view=lanes`

const VIEWS = {lanes: 'Lanes', table: 'Table', ...!run && {compare: 'Compare', states: 'States', coverage: 'Coverage'}};

/// What the address says; what it does not say, or says wrongly, is null.
function address() {
  const words = new URLSearchParams(location.hash.slice(1));
  const view = words.get('view');
  const step = parseInt(words.get('step'), 10);
  return {
    path: words.get('path'),
    step: Number.isInteger(step) && step >= 0 ? step : null,
    view: Object.hasOwn(VIEWS, view) ? view : 'lanes',
    details: words.get('details') === 'all',
  };
}

/// The address of something else.
function link({path, step, view, details}) {
  const words = [`path=${path}`];
  if (step !== null && step !== undefined) words.push(`step=${step}`);
  if (view !== 'lanes') words.push(`view=${view}`);
  if (details) words.push('details=all');
  return '#' + words.join('&');
}

/// A command with a button that copies it.
function copyable(text) {
  const code = el('code', {}, text);
  const button = el('button', {type: 'button', class: 'copy', onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = 'Selected: copy it';
    }
  }}, 'Copy');
  return el('div', {class: 'command'}, code, button);
}
