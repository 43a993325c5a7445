// SPDX-License-Identifier: Apache-2.0
// What comes from a file or a card is written as text only, never as markup.
'use strict';

const $ = (id) => document.getElementById(id);
const PARTS = ['start', 'working', 'error', 'result', 'another'];
const DOWNLOADS = [['map.tif', 'Map (GeoTIFF)'], ['polygons.gpkg', 'Polygons (GeoPackage)'],
  ['confidence.tif', 'Confidence (GeoTIFF)'], ['map.qml', 'QGIS style']];
const SMALL = 720; // px, images below are enlarged
const FIELDS = /Bands|Value range|Pixel size/;
let limit = Infinity;

function show(...parts) {
  for (const part of PARTS) $(part).hidden = !parts.includes(part);
}

function number(value, digits = 4) {
  return value.toLocaleString('en', { maximumSignificantDigits: digits });
}

function percent(value) {
  if (value === null) return '–';
  return value > 0 && value < 0.1 ? '< 0.1 %' : `${value.toFixed(1)} %`;
}

function fail(text) {
  history.replaceState(null, '', location.pathname);
  $('error').textContent = text;
  if (FIELDS.test(text)) $('reading').open = true;
  show('start', 'error');
}

// ------------------------------------------------------------------------- sending

function send(file) {
  if (file.size > limit) {
    fail(`${file.name} has ${number(file.size / 1e6)} MB, and the limit is ` +
      `${number(limit / 1e6)} MB. Cut it, or use crossearth predict, which takes any size.`);
    return;
  }
  const query = new URLSearchParams({ name: file.name });
  for (const field of ['bands', 'scale', 'gsd']) query.set(field, $(field).value);
  const sent = (bytes) => progress('Sending', file.name, bytes, file.size,
    `${number(bytes / 1e6, 3)} of ${number(file.size / 1e6, 3)} MB`);
  sent(0);
  show('working');
  const request = new XMLHttpRequest(); // fetch does not tell how much was sent
  request.open('POST', `api/jobs?${query}`);
  request.setRequestHeader('Content-Type', 'application/octet-stream');
  request.responseType = 'json';
  request.upload.onprogress = (event) => sent(event.loaded);
  request.onerror = () => fail('The upload was broken off. Is crossearth app still running?');
  request.onload = () => {
    const answer = request.response || {};
    if (request.status !== 201) {
      fail(answer.error || `The server answered with status ${request.status}.`);
      return;
    }
    location.hash = answer.id; // so that a reload shows the same result
    follow(answer.id);
  };
  request.send(file);
}

function progress(stage, name, done, total, text) {
  $('stage').textContent = stage;
  $('working-name').textContent = name;
  $('count').textContent = text;
  if (total) {
    $('bar').max = total;
    $('bar').value = done;
  } else {
    $('bar').removeAttribute('value');
  }
}

async function follow(id) {
  let job;
  try {
    const answer = await fetch(`api/jobs/${id}`);
    job = await answer.json();
    if (!answer.ok) return fail(job.error);
  } catch {
    return fail('The server does not answer. Is crossearth app still running?');
  }
  if (job.state === 'failed') return fail(job.error);
  if (job.state === 'done') return present(id, job.result);
  if (job.state === 'queued') {
    progress('Waiting', job.name, 0, 0, `${job.ahead} before this one`);
  } else {
    progress(job.stage, job.name, job.done, job.total,
      job.total ? `${job.done} of ${job.total} tiles` : '');
  }
  show('working');
  setTimeout(follow, 400, id);
}

// ------------------------------------------------------------------------- the result

function present(id, result) {
  const address = `api/jobs/${id}`;
  for (const layer of ['image', 'map', 'confidence']) $(layer).src = `${address}/${layer}.png`;
  const ratio = result.width / result.height;
  const enlarged = SMALL * Math.min(1, ratio);
  $('stack').classList.toggle('small', result.width < enlarged);
  $('stack').style.setProperty('--ratio', ratio);
  $('stack').style.setProperty('--width', `${Math.max(result.width, enlarged)}px`);
  const facts = [result.name, `${number(result.width, 9)} x ${number(result.height, 9)} px`];
  if (result.gsd_m) facts.push(`pixels of ${number(result.gsd_m, 3)} m`);
  if (result.crs) facts.push(result.crs.length < 40 ? result.crs : 'own coordinate system');
  $('caption').textContent = facts.join(' · ');
  $('unit').textContent = result.unit === 'px' ? 'Pixels' : `Area, ${result.unit}`;
  $('classes').replaceChildren(...result.classes.map((entry) => row(entry, result.unit)));
  $('no-data').textContent = result.no_data_percent
    ? `${percent(result.no_data_percent)} of the scene holds no data.` : '';
  $('mean').textContent = percent(result.confidence);
  gap(result.gap);
  $('notes').replaceChildren(...result.notes.map((text) => element('li', text)));
  $('downloads').replaceChildren(...DOWNLOADS.map(([file, label]) => {
    const link = element('a', label);
    link.href = `${address}/${file}`;
    link.download = '';
    return link;
  }));
  show('result', 'another');
}

function row(entry, unit) {
  const name = element('td', entry.name);
  const swatch = element('span', '');
  swatch.className = 'swatch';
  swatch.style.backgroundColor = `rgb(${entry.color.join(' ')})`;
  name.prepend(swatch);
  const area = unit === 'px' ? number(entry.area, 12) : number(entry.area);
  const cells = [name, ...[area, percent(entry.percent), percent(entry.confidence)].map(
    (text) => element('td', text))];
  const line = document.createElement('tr');
  line.className = entry.pixels ? '' : 'absent';
  line.append(...cells);
  return line;
}

function gap(found) {
  if (found.error) {
    $('verdict').textContent = 'unknown';
    $('gap').textContent = found.error;
    return;
  }
  $('verdict').textContent = found.verdict;
  $('gap').textContent = `Compared with ${found.reference}: ${found.kind} shift ` +
    `${found.shift.toFixed(2)}, ${found.place}; ${found.outside_percent.toFixed(0)} % of ` +
    `${found.tiles} tiles lie outside the training domain.`;
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function paint() {
  const layer = document.querySelector('input[name=layer]:checked').value;
  for (const name of ['map', 'confidence']) {
    $(name).hidden = name !== layer;
    $(name).style.opacity = $('opacity').value / 100;
  }
  $('ramp').hidden = layer !== 'confidence';
  $('opacity-value').textContent = `${$('opacity').value} %`;
}

// ------------------------------------------------------------------------- the start

async function begin() {
  $('file').addEventListener('change', () => {
    if ($('file').files.length) send($('file').files[0]);
    $('file').value = '';
  });
  for (const kind of ['dragover', 'dragleave', 'drop']) {
    document.body.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle('over', kind === 'dragover');
      const [file] = kind === 'drop' ? event.dataTransfer.files : [];
      if (file) send(file);
    });
  }
  $('another').addEventListener('click', () => {
    history.replaceState(null, '', location.pathname);
    show('start');
  });
  $('opacity').addEventListener('input', paint);
  for (const input of document.querySelectorAll('input[name=layer]')) {
    input.addEventListener('change', paint);
  }
  paint();
  const model = await (await fetch('api/model')).json();
  limit = model.max_bytes;
  $('limit').textContent = `${number(limit / 1e6)} MB`;
  $('order').textContent = model.bands.join(', ');
  const facts = [`Model with ${model.classes.length} classes`];
  if (model.training_domain.length) facts.push(`trained on ${model.training_domain.join(', ')}`);
  if (model.gsd_m) {
    facts.push(`pixels of ${number(model.gsd_m, 3)} m`);
    const option = element('option', `of the model, ${number(model.gsd_m, 3)} m`);
    option.value = 'model';
    $('gsd').append(option);
  }
  $('model').textContent = facts.join(' · ');
  if (location.hash) follow(location.hash.slice(1));
}

begin();
