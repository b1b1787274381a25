// A way, row by row: as lanes, as a table, and beside the nearest good way.

const LANES = ['server', 'device', 'module'];

/// What stands in the margin.
const MARGIN = run ? 'output' : 'what goes wrong';

/// The rows that are shown: all, or those that people know, those where something goes wrong, and the chosen one.
function shown(rows, {details, step}, differs) {
  return rows.map((row, number) => ({row, number}))
    .filter(({row, number}) => details || !row.detail || row.fault || number === step || number === differs);
}

/// What a row's row of a table has in common in all views. `pick`: does the choosing; without, it cannot be chosen.
function line({row, number}, {step}, differs, pick, cells) {
  const chosen = pick && number === step;
  const name = [row.detail && 'detail', number === differs && 'differs'].filter(Boolean).join(' ');
  return el('tr', {
    class: name || null, 'data-step': pick ? number : null, 'aria-current': chosen ? 'step' : null,
    onclick: pick && (() => pick(number)),
  }, cells);
}

/// A text whose long names may be broken where their words end.
const broken = text => text.split(/(?<=_)|(?<=[a-z])(?=[A-Z])/).flatMap((part, number) => number === 0 ? [part] : [el('wbr'), part]);

/// What happens, to be chosen.
function what(row, chosen, pick) {
  return pick ? el('button', {type: 'button', tabindex: chosen ? 0 : -1}, broken(row.what)) : broken(row.what);
}

const fault = row => row.fault && el('span', {class: 'fault'}, `! ${row.fault}`);
const result = row => row.result && el('span', {class: 'result'}, `: ${row.result}`);

/// What a program printed: how much of it in the row, and all of it beside the chosen one.
const lines = row => (row.output || []).length + (row.earlier_lines || 0);
const printed = row => lines(row) > 0 && el('span', {class: 'result'}, counted(lines(row), 'line', 'lines'));

function output(row) {
  if (lines(row) === 0) return null;
  const earlier = row.earlier_lines > 0 ? `... ${counted(row.earlier_lines, 'earlier line', 'earlier lines')}\n` : '';
  return [el('h3', {}, 'Output'), el('pre', {}, earlier + row.output.join('\n'))];
}

/// Server, device and module beside each other, and what goes wrong in the margin.
function lanes(rows, place, differs, pick) {
  let before = null;
  const lines = shown(rows, place, differs).map(item => {
    const {row, number} = item;
    const time = row.at === before ? '' : clock(row.at);
    before = row.at;
    const cells = LANES.map(lane => lane === row.lane
      ? el('td', {class: lane, 'data-lane': lane}, what(row, number === place.step, pick), result(row))
      : el('td'));
    const mark = number === differs && el('span', {class: 'bad-text'}, 'unlike the nearest good way ');
    return line(item, place, differs, pick, [el('td', {class: 'time'}, time), cells, el('td', {class: 'margin'}, mark, fault(row), printed(row))]);
  });
  const head = ['time', ...LANES, MARGIN];
  const names = head.map(name => el('th', {scope: 'col', class: LANES.includes(name) ? name : null}, name));
  return el('table', {class: 'rows lanes'}, el('thead', {}, el('tr', {}, names)), el('tbody', {}, lines));
}

/// One row a step, with everything that is known of it.
function table(rows, place, pick) {
  const lines = shown(rows, place).map(item => {
    const {row, number} = item;
    return line(item, place, null, pick, [
      el('td', {class: 'number'}, String(number)),
      el('td', {class: 'time'}, clock(row.at)),
      el('td', {class: `who ${row.lane}`}, row.lane),
      el('td', {class: 'state-name'}, row.state || ''),
      el('td', {class: 'what'}, what(row, number === place.step, pick), result(row)),
      el('td', {class: 'margin'}, fault(row), printed(row)),
    ]);
  });
  const heads = [['step', 'number'], ['time', ''], ['who', ''], ['state', 'state-name'], ['what', ''], [MARGIN, '']];
  const names = heads.map(([name, of]) => el('th', {scope: 'col', class: of || null}, name));
  return el('table', {class: 'rows wide'}, el('thead', {}, el('tr', {}, names)), el('tbody', {}, lines));
}

/// What a way is compared with, what that is called, and the first row that differs.
function beside(way) {
  if (way.good) return {other: way.good, name: 'The nearest good way', differs: way.good.differs_at};
  const other = walk.undisturbed;
  if (way.path === other.path) return null;
  const text = row => row && JSON.stringify([row.at, row.lane, row.what, row.result, row.fault]);
  const differs = way.rows.findIndex((row, number) => text(row) !== text(other.rows[number]));
  return {other, name: 'When nothing goes wrong', differs: differs < 0 ? way.rows.length : differs};
}

/// A way beside the nearest good one, or beside the one on which nothing goes wrong: what is the same once, and from the first difference on
/// both.
function compare(way, place, pick) {
  const pair = beside(way);
  if (!pair) return el('p', {class: 'notice good'}, 'Nothing goes wrong on this way: there is no other one to compare it with.');
  const {other, name, differs} = pair;
  const same = shown(way.rows.slice(0, differs), place);
  const both = el('details', {open: place.step < differs}, el('summary', {}, `${counted(differs, 'step', 'steps')} that both have`),
    lanes(way.rows.slice(0, differs), place, null, pick));
  const side = (title, of, choose) => {
    // Rows keep their numbers.
    const rest = of.rows.map((row, number) => number < differs ? null : row);
    return el('section', {}, el('h3', {}, title), single(rest, place, differs, choose), ended(of));
  };
  return el('div', {}, same.length > 0 && both, el('div', {class: 'pair'},
    side('This way', way, pick),
    side(name, other, null)),
  el('p', {}, el('a', {href: link({...place, path: other.path, step: differs, view: 'lanes'})}, 'Look at the other way alone')));
}

/// All lanes in one column.
function single(rows, place, differs, pick) {
  const items = rows.map((row, number) => ({row, number})).filter(({row, number}) =>
    row && (place.details || !row.detail || row.fault || number === differs || pick && number === place.step));
  const lines = items.map(item => {
    const {row, number} = item;
    const mark = number === differs && el('span', {class: 'bad-text'}, 'first difference ');
    return line(item, place, differs, pick, [
      el('td', {class: 'time'}, clock(row.at)),
      el('td', {class: `who ${row.lane}`}, row.lane),
      el('td', {}, mark, what(row, number === place.step, pick), result(row), row.fault && ' ', fault(row)),
    ]);
  });
  return el('table', {class: 'rows'}, el('tbody', {}, lines));
}

/// How a way ends, in a line.
function ended(way) {
  return el('p', {class: way.clean ? 'notice good' : 'notice bad'}, said(way, way.server));
}

/// An end in words.
function said(way, server) {
  return way.end ? `${SIGNS[way.end]} ${way.end}: ${[way.meaning, server].filter(Boolean).join('; ')}` : `✖ wrong: ${way.wrong}`;
}

/// What is to be known of the chosen step.
function about(row, number) {
  const facts = [
    ['time', clock(row.at)], ['who', row.lane], ['state', row.state || (run ? null : 'the client does not run')],
    ['result', row.result || (row.fault || run ? null : 'as it should be')], ['goes wrong', row.fault],
  ];
  return [
    el('h3', {}, `Step ${number}: `, broken(row.what)),
    el('dl', {}, facts.filter(([, text]) => text).map(([name, text]) =>
      [el('dt', {}, name), el('dd', {class: name === 'goes wrong' ? 'bad-text' : null}, text)])),
    ...output(row) || [],
  ];
}

/// What else could happen at a step.
function injection(row, inject) {
  const others = row.others || [];
  const buttons = others.map(({choice, what}) =>
    el('li', {}, el('button', {type: 'button', class: 'inject', 'data-choice': choice, onclick: () => inject(choice)},
      broken(what), choice === 0 && ': nothing goes wrong')));
  return [
    el('h3', {}, 'Inject here'),
    others.length > 0
      ? el('p', {}, live ? 'What else can happen at this step; the rest is what the client does from there.'
        : 'What else can happen at this step. Choose one for the command that shows what follows.')
      : el('p', {}, row.others ? 'Nothing else can happen here: as much as may go wrong has gone wrong already, or nothing can.'
        : 'This page does not say what else can happen here.'),
    el('ul', {}, buttons),
    el('div', {id: 'injection', role: 'status'}),
  ];
}
