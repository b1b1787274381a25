// What is shown, and what happens on clicks and keys.

/// What the page shows: the address, the way that it names, and a state that was chosen in the diagram.
let place = null;
let way = null;

const go = change => { location.hash = link({...place, ...change}); };

/// Another step is no new place to come back to.
function step(number) {
  if (!way || number === null || !way.rows[number]) return;
  history.replaceState(null, '', link({...place, step: number}));
  place = {...place, step: number, state: null};
  render();
  const chosen = document.querySelector('#view [aria-current=step]');
  if (chosen) chosen.scrollIntoView({block: 'nearest'});
}

/// The next of the rows that are shown and fit, forward or back.
function next(by, fits) {
  const numbers = shown(way.rows, place).filter(fits).map(({number}) => number).filter(number => (number - place.step) * by > 0);
  return numbers.length === 0 ? null : by > 0 ? Math.min(...numbers) : Math.max(...numbers);
}

const any = () => true;
const faulty = ({row}) => Boolean(row.fault);

function inject(choice) {
  const path = injected(way.path, place.step, choice);
  if (live) {
    go({path});
    return;
  }
  at('injection').replaceChildren(
    el('p', {}, 'This page is a file. This command computes what follows, and serves it as a page:'), copyable(command('ui', path)));
}

// ---- parts of the page

function header() {
  if (run) {
    at('ends').hidden = true;
    at('more-keys').hidden = true;
    document.querySelector('main').className = 'alone';
    at('verdict').replaceChildren(complaints('As it should be.'));
    return;
  }
  at('counts').textContent = `At most ${counted(walk.failures, 'failure', 'failures')} and ${counted(walk.losses, 'loss', 'losses')} of power: ` +
    `${counted(walk.configurations, 'configuration', 'configurations')}, ${counted(walk.steps, 'step', 'steps')}` +
    (walk.complete ? '.' : '; not everything was walked.');
  const unclean = walk.ends.filter(end => !end.clean).length;
  at('verdict').replaceChildren(complaints(`Nothing wrong found in ${counted(walk.configurations, 'configuration', 'configurations')}` +
    (walk.part ? ` of part ${walk.part}` : '') +
    (unclean ? `; ${counted(unclean, 'way to end is not clean', 'ways to end are not clean')}.` : '.')));
  at('digest').textContent = `Digest of ${walk.part ? `part ${walk.part} of ` : ''}everything that can happen: ${walk.digest}. It changes when something else can happen.`;
}

/// What is not as it should be; what is said where there is nothing.
function complaints(good) {
  return walk.complaints.length === 0 ? el('p', {class: 'notice good'}, `✔ ${good}`)
    : el('div', {class: 'notice bad'}, '✖ Not as it should be:', el('ul', {}, walk.complaints.map(text => el('li', {}, text))));
}

function ends() {
  if (run) return;
  const item = (name, sign, path, clean, count, about) => el('li', {}, el('a', {
    href: link({...place, path, step: null}), class: clean ? 'is-good' : 'is-bad', 'aria-current': place.path === path ? 'true' : null,
  }, el('span', {class: 'mark', 'aria-hidden': 'true'}, sign), el('span', {class: 'name'}, name),
  el('span', {class: 'count', title: 'configurations that end like this'}, count === null ? '' : count.toLocaleString('en')), el('small', {}, about)));
  const parts = [];
  if (walk.wrong.length > 0) {
    parts.push(el('h2', {}, 'What must never be, and was'),
      el('ul', {}, walk.wrong.map(({wrong, count, way}) => item('wrong', '✖', way.path, false, count, wrong))));
  }
  parts.push(el('h2', {}, 'How it can end, the worst first'), el('ul', {}, walk.ends.map(({end, meaning, server, clean, count, way}) =>
    item(end, SIGNS[end], way.path, clean, count, `${meaning}; ${server}`))));
  const {undisturbed} = walk;
  parts.push(el('h2', {}, 'When nothing goes wrong'), el('ul', {}, item(undisturbed.end || 'wrong', SIGNS[undisturbed.end] || '✖', undisturbed.path,
    undisturbed.clean, null, undisturbed.end ? `${undisturbed.meaning}; ${undisturbed.server}` : undisturbed.wrong)));
  if (place.path !== undisturbed.path && (!ways.has(place.path) || ways.get(place.path).count === undefined)) {
    parts.push(el('p', {class: 'notice', id: 'own'}, 'The page shows a way of its own: ', el('code', {}, place.path)));
  }
  at('ends').replaceChildren(...parts);
}

function views() {
  at('views').replaceChildren(...Object.entries(VIEWS).map(([view, name]) =>
    el('a', {href: link({...place, view}), 'aria-current': place.view === view ? 'page' : null}, name)));
}

function stepper() {
  // In a run nothing is left out, and no step is one that was to go wrong.
  const numbers = [next(-1, any), next(1, any), ...run ? [] : [next(1, faulty)]];
  const names = [['back', '← Back'], ['on', 'Step →'], ...run ? [] : [['fault', 'Next fault']]];
  // Kept from one step to the next, so that the focus stays where it is.
  if (!at('step-on')) {
    const moves = [() => step(next(-1, any)), () => step(next(1, any)), () => step(next(1, faulty))];
    at('stepper').replaceChildren(
      ...names.map(([id, name], number) => el('button', {type: 'button', id: `step-${id}`, onclick: moves[number]}, name)),
      el('span', {class: 'position', id: 'position'}),
      ...run ? [] : [el('label', {}, el('input', {type: 'checkbox', id: 'details', onchange: details}), ' all small steps')]);
  }
  names.forEach(([id], number) => { at(`step-${id}`).disabled = numbers[number] === null; });
  at('position').textContent = `step ${place.step} of ${way.rows.length - 1}`;
  if (!run) at('details').checked = place.details;
}

function details() {
  history.replaceState(null, '', link({...place, details: !place.details}));
  place = {...place, details: !place.details};
  render();
}

function title() {
  const many = way.count === undefined ? '' : `${counted(way.count, 'configuration ends', 'configurations end')} like this; this is a shortest way to it. `;
  const faults = way.rows.filter(row => row.fault).map(row => `${row.what}: ${row.fault}`);
  at('way-title').replaceChildren(said(way));
  at('way-title').className = way.clean ? '' : 'bad-text';
  at('way-about').textContent = run ? '' : `${way.server ? `In the end ${way.server}. ` : ''}${many}` +
    (faults.length === 0 ? 'Nothing goes wrong on this way.' : `On this way: ${faults.join('; ')}.`);
}

function view() {
  switch (place.view) {
    case 'table': return [table(way.rows, place, step), ended(way)];
    case 'compare': return [compare(way, place, step)];
    case 'states': return [diagram(way, place, state => { place = {...place, state}; render(); })];
    case 'coverage': return [coverage()];
    default: return [lanes(way.rows, place, way.good ? way.good.differs_at : null, step), ended(way)];
  }
}

/// Draws the page anew. What has the focus keeps it where it is still there.
function render() {
  const places = ['#view tr[aria-current] button', '#views a[aria-current]'];
  const focused = places.find(place => document.activeElement && document.activeElement.closest(place.split(' ')[0]));
  ends();
  views();
  title();
  stepper();
  at('view').replaceChildren(...view());
  at('split').className = place.view === 'coverage' ? 'alone' : '';
  const row = way.rows[place.step];
  at('about').replaceChildren(...row ? about(row, place.step) : []);
  at('inject').replaceChildren(...row && !run ? injection(row, inject) : []);
  const changes = run && run.changes.length > 0 && [el('h3', {}, 'Changed on the device, beside what the client keeps'),
    el('ul', {}, run.changes.map(text => el('li', {}, text)))];
  const scenario = way.scenario && el('details', {}, el('summary', {}, 'This way as a scenario, for thimble-sim run and test'), copyable(way.scenario));
  at('again').replaceChildren(...changes || [], el('h3', {}, run ? 'This run again' : 'This way again'), copyable(again(way)), scenario || '');
  const kept = focused && document.querySelector(focused);
  if (kept) kept.focus({preventScroll: true});
}

/// There is nothing to be shown of this path.
function nothing(path, why) {
  way = null;
  ends();
  views();
  for (const id of ['stepper', 'view', 'about', 'inject', 'again', 'way-title', 'way-about']) at(id).replaceChildren();
  at('split').className = 'alone';
  at('view').replaceChildren(el('div', {class: 'notice', role: 'alert'}, el('p', {}, why), PATH.test(path) && !live && copyable(command('ui', path))));
}

/// Shows what the address says.
async function show() {
  const said = address();
  const first = [...ways.values()][0];
  const path = run ? '' : said.path ?? (first ? first.path : '');
  place = {...said, path, state: null};
  let found = null;
  let why = 'This page is a file, and has not this way. This command computes it, and serves it as a page:';
  if (!PATH.test(path)) {
    why = 'The address names no path: 14.3,52.7 is one, with a step and its choice, or nothing at all.';
  } else {
    at('way').setAttribute('aria-busy', 'true');
    try {
      found = await fetched(path);
    } catch (error) {
      why = `The server does not tell this way: ${error.message}`;
    }
    at('way').removeAttribute('aria-busy');
  }
  // Another address came meanwhile.
  if (place.path !== path) return;
  if (!found) {
    nothing(path, why);
    return;
  }
  const changed = way !== found;
  way = found;
  if (place.step === null || place.step >= way.rows.length) {
    const fault = way.rows.findIndex(row => row.fault);
    place.step = Math.max(0, fault >= 0 ? fault : way.rows.findIndex(row => !row.detail));
  }
  render();
  if (changed && said.path !== null) at('way-title').focus({preventScroll: true});
}

document.addEventListener('keydown', event => {
  if (!way || event.altKey || event.ctrlKey || event.metaKey ) return;
  const inRows = event.target.closest('#view .rows');
  const keys = {
    ArrowRight: () => step(next(1, any)), j: () => step(next(1, any)), ArrowLeft: () => step(next(-1, any)), k: () => step(next(-1, any)),
    ...!run && {f: () => step(next(1, faulty)), d: details},
    ...inRows && {ArrowDown: () => step(next(1, any)), ArrowUp: () => step(next(-1, any))},
  };
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});
addEventListener('hashchange', show);
header();
show();
