// The states of the client from top to bottom in the order of its table; moves between them as lines, forward on the right and back on the
// left. What was never met is dashed, and the chosen way is drawn over it.

const BOX = {width: 164, height: 22, gap: 11, middle: 210, across: 420};

/// The moves of a way, from state to state; those of a restart are none of the table.
function taken(rows, until) {
  const states = rows.slice(0, until).map(row => row.state).filter(Boolean);
  const moves = new Set();
  states.forEach((state, number) => {
    if (number > 0 && states[number - 1] !== state) moves.add(`${states[number - 1]} ${state}`);
  });
  return {states: new Set(states), moves};
}

function diagram(way, place, choose) {
  const {states} = walk;
  const row = way.rows[place.step];
  const now = place.state || (row && row.state);
  const on = taken(way.rows, way.rows.length);
  const index = new Map(states.map((state, number) => [state, number]));
  const met = new Set(walk.moves.filter(move => move.count > 0).flatMap(move => [move.from, move.to]));
  const y = number => 14 + number * (BOX.height + BOX.gap) + BOX.height / 2;
  const curve = (from, to) => {
    const [a, b] = [index.get(from), index.get(to)];
    if (b === a + 1) return `M${BOX.middle} ${y(a) + BOX.height / 2} V${y(b) - BOX.height / 2 - 1}`;
    const side = b > a ? 1 : -1;
    const x = BOX.middle + side * BOX.width / 2;
    const out = x + side * Math.min(6 + 19 * Math.sqrt(Math.abs(b - a)), 124);
    return `M${x} ${y(a)} C${out} ${y(a)} ${out} ${y(b)} ${x + side * 2} ${y(b)}`;
  };
  const lines = walk.moves.filter(({from, to}) => from !== to).map(move => ({...move, on: on.moves.delete(`${move.from} ${move.to}`)}));
  for (const move of on.moves) {
    const [from, to] = move.split(' ');
    lines.push({from, to, count: null, on: true});
  }
  lines.sort((a, b) => a.on - b.on || (b.count === 0) - (a.count === 0));
  const drawn = lines.map(({from, to, count, on}) => {
    const name = [count === 0 && 'never', on && 'on', on && count === null && 'restart'].filter(Boolean).join(' ');
    const times = count === null ? 'at a restart' : count === 0 ? 'never met' : counted(count, 'time', 'times');
    return draw('path', {
      class: name || null, d: curve(from, to), 'stroke-width': on ? null : 1 + Math.log10(1 + (count || 0)) / 2,
      'marker-end': on ? 'url(#arrow)' : null,
    }, draw('title', {}, `${from} to ${to}: ${times}`));
  });
  const boxes = states.map((state, number) => draw('g', {
    class: ['state', !met.has(state) && 'never', on.states.has(state) && 'on', state === now && 'now'].filter(Boolean).join(' '),
    'data-state': state, onclick: () => choose(state),
  },
  draw('rect', {x: BOX.middle - BOX.width / 2, y: y(number) - BOX.height / 2, width: BOX.width, height: BOX.height, rx: 5}),
  draw('text', {x: BOX.middle, y: y(number) + 4.5}, state)));
  const arrow = draw('defs', {}, draw('marker', {id: 'arrow', viewBox: '0 0 8 8', refX: 6, refY: 4, markerWidth: 3.4, markerHeight: 3.4,
    orient: 'auto'}, draw('path', {d: 'M0 0 L8 4 L0 8 z'})));
  const height = y(states.length - 1) + BOX.height;
  const label = 'The states of the client and the moves between them; the list of moves says the same in words.';
  const picture = draw('svg', {viewBox: `0 0 ${BOX.across} ${height}`, role: 'img', 'aria-label': label}, arrow, drawn, boxes);
  return el('div', {class: 'diagram'}, picture, el('div', {}, legend(), moves(now)));
}

function legend() {
  const sample = (name, text) => el('li', {}, draw('svg', {viewBox: '0 0 48 16', 'aria-hidden': 'true'},
    draw('path', {class: name, d: 'M2 8 H46', 'stroke-width': 2})), text);
  return el('ul', {class: 'legend'},
    sample(null, 'met: the thicker, the more often'), sample('never', 'never met on this device'), sample('on', 'this way'),
    sample('on restart', 'this way, at a restart'));
}

/// The moves from a state, in words.
function moves(state) {
  const from = walk.moves.filter(move => move.from === state);
  if (from.length === 0) return el('p', {}, state ? `${state}: no move from it was met.` : 'The client does not run at this step.');
  const lines = from.map(({to, count}) => el('tr', {}, el('td', {}, to === state ? 'stays' : `to ${to}`),
    el('td', {class: 'number'}, count === 0 ? 'never met' : counted(count, 'time', 'times'))));
  return el('table', {class: 'plain', id: 'moves'}, el('caption', {}, `From ${state}`), el('tbody', {}, lines));
}

/// What was covered.
function coverage() {
  const sign = (count, due) => count > 0 ? '✔ ' : due ? '✖ it had to be: ' : '– ';
  const situations = walk.situations.map(({name, count, due}) => el('tr', {class: count === 0 && due ? 'bad-text' : null},
    el('td', {}, sign(count, due), name), el('td', {class: 'number'}, count.toLocaleString('en'))));
  const scripts = walk.scripts.map(({name, works, fails}) => el('tr', {class: works + fails === 0 ? 'bad-text' : null},
    el('td', {}, el('span', {class: 'code'}, name), works + fails === 0 && ': ✖ never runs'),
    el('td', {class: 'number'}, works.toLocaleString('en')), el('td', {class: 'number'}, fails.toLocaleString('en'))));
  const head = (...names) => el('thead', {}, el('tr', {}, names.map((name, number) =>
    el('th', {scope: 'col', class: number > 0 ? 'number' : null}, name))));
  return el('div', {},
    el('h3', {}, 'Situations'),
    el('table', {class: 'plain'}, head('situation', 'steps in which it was met'), el('tbody', {}, situations)),
    el('h3', {}, 'State scripts'),
    scripts.length > 0
      ? el('table', {class: 'plain'}, head('script', 'steps in which it works', 'steps in which it fails'), el('tbody', {}, scripts))
      : el('p', {}, 'There are none.'));
}
