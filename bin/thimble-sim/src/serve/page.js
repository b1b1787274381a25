'use strict';
// Asks for what is new once a second. Whatever a request said becomes text, never markup.

const KEPT = 500;
const byId = id => document.getElementById(id);
let last = 0;

const element = (name, text, kind) => {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
};

const clock = seconds => [seconds / 3600, seconds / 60 % 60, seconds % 60]
  .map(part => String(Math.floor(part)).padStart(2, '0')).join(':');

const row = request => {
  const made = document.createElement('li');
  const status = request.status === 0 ? 'none' : String(request.status);
  const what = request.fault ? `${request.what} (${request.fault})` : request.what;
  made.append(
    element('span', clock(request.at), 'time'),
    element('span', status, request.status > 0 && request.status < 400 ? 'good' : 'bad'),
    element('span', request.method),
    element('span', what),
  );
  if (request.said) made.append(element('code', request.said));
  return made;
};

const filter = () => {
  const wanted = byId('filter').value.toLowerCase();
  for (const made of byId('requests').children) made.hidden = !made.textContent.toLowerCase().includes(wanted);
};

const show = seen => {
  const list = byId('requests');
  for (const request of seen.requests) {
    list.prepend(row(request));
    last = Math.max(last, request.number);
  }
  while (list.children.length > KEPT) list.lastChild.remove();
  if (seen.requests.length) filter();
  byId('deployments').replaceChildren(...seen.deployments.map(deployment => {
    const {artifact, status} = deployment;
    const kind = status === 'success' ? 'good' : ['failure', 'aborted'].includes(status) ? 'bad' : '';
    const made = element('li', `${artifact}: `);
    made.append(element('strong', status, kind));
    return made;
  }));
  if (!seen.deployments.length) byId('deployments').append(element('li', 'None: there is no artifact yet.'));
  byId('wrong').hidden = !seen.violations.length;
  byId('violations').replaceChildren(...seen.violations.map(text => element('li', text, 'bad')));
  byId('state').className = '';
  byId('state').textContent = `${last} requests, ${seen.devices} devices`;
};

const ask = async () => {
  try {
    show(await (await fetch(`/seen?since=${last}`)).json());
  } catch {
    byId('state').className = 'lost';
    byId('state').textContent = 'The server has ended, or does not answer.';
  }
  setTimeout(ask, 1000);
};

byId('filter').addEventListener('input', filter);
ask();
