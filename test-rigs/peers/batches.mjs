// A FHIR R4 server on the node-fhir-server-core framework: routes, Bundles, searches and answers are theirs, a map in memory
// is ours. It takes batches only, does their entries side by side by requests to itself, and takes bodies up to 100 kB.
import http from 'node:http';
import { createRequire } from 'node:module';
import { bodyOf, live, settings } from './life.mjs';

const require = createRequire(import.meta.url);
const { Server, ServerError } = require('@asymmetrik/node-fhir-server-core');
const bundles = require('@asymmetrik/node-fhir-server-core/dist/server/base/base.controller.js');

const { port } = settings;
const version = '4_0_1';
const kinds = ['Observation', 'Device', 'DeviceMetric', 'Patient', 'Specimen', 'DiagnosticReport', 'Provenance'];
/** Kind → id → resource. */
const held = new Map(kinds.map((kind) => [kind, new Map()]));
let faults = [];

const refused = (statusCode, code, text) =>
  new ServerError(text, { statusCode, issue: [{ severity: 'error', code, details: { text } }] });

/** Whether every local reference of a resource leads somewhere, as a database with foreign keys would ask. */
function stands(resource) {
  const targets = [...JSON.stringify(resource).matchAll(/"reference":"(\w+)\/([\w.-]+)"/g)];
  return targets.every(([, kind, id]) => !held.has(kind) || held.get(kind).has(id));
}

const tokens = (text) => String(text ?? '').split(',').map((token) => decodeURIComponent(token));

function service(kind) {
  const all = held.get(kind);
  return {
    search: async (args, { req }) => {
      const asked = { ...req.query, ...(req.method === 'POST' ? req.body : {}) };
      let found = [...all.values()];
      if (asked._id) found = found.filter((one) => tokens(asked._id).includes(one.id));
      if (asked.identifier) {
        const wanted = tokens(asked.identifier);
        found = found.filter((one) => (one.identifier ?? []).some((id) => wanted.includes(`${id.system}|${id.value}`)));
      }
      return {
        resourceType: 'Bundle',
        type: 'searchset',
        total: found.length,
        entry: found.slice(0, Number(asked._count ?? 50)).map((resource) => ({ resource, search: { mode: 'match' } })),
      };
    },
    searchById: async ({ id }) => {
      if (!all.has(id)) throw refused(404, 'not-found', 'there is no such resource');
      return all.get(id);
    },
    create: async () => {
      throw refused(405, 'not-supported', 'ids are chosen by clients here');
    },
    update: async ({ id }, { req }) => {
      const resource = req.body;
      if (resource?.resourceType !== kind || resource.id !== id) throw refused(400, 'invalid', 'type or id differ');
      if (kind === 'Observation' && typeof resource.status !== 'string') throw refused(422, 'required', 'status is missing');
      if (!stands(resource)) throw refused(422, 'not-found', 'a reference leads nowhere');
      const known = all.get(id);
      const versionId = String(Number(known?.meta?.versionId ?? 0) + 1);
      all.set(id, { ...resource, meta: { ...resource.meta, versionId } });
      return { id, created: known === undefined, resource_version: versionId };
    },
  };
}

const profiles = Object.fromEntries(kinds.map((kind) => [kind, { service: service(kind), versions: [version] }]));
const framework = new Server({ profiles, logging: { level: 'error' } });
framework.configureMiddleware().configureSession().configureHelmet().configurePassport().setPublicDirectory().setProfileRoutes();
// Release 2.2.5 never mounts its own route for Bundles (its loop over them has no beginning).
framework.app.post('/:base_version', bundles.batch());
framework.setErrorRoutes();
const { app } = framework;

const server = http.createServer(async (request, response) => {
  if (request.url === '/control') {
    faults = JSON.parse((await bodyOf(request)).toString());
    response.writeHead(200, { 'content-type': 'application/json' });
    return response.end('{}');
  }
  const bundle = request.method === 'POST' && request.url.replace(/\/$/, '') === `/${version}`;
  const fault = bundle ? faults.shift() : undefined;
  if (fault?.kind === 'status') {
    await bodyOf(request);
    response.writeHead(fault.status, { 'content-type': 'text/html' });
    return response.end('<html>busy</html>');
  }
  if (fault?.kind === 'commit-then-reset') {
    // They answer into nothing.
    response.end = () => request.socket.resetAndDestroy();
  }
  app(request, response);
});

// Their log goes to standard output, which nobody reads after the first line.
process.stdout.on('error', () => {});
live(server, port, { base: `http://127.0.0.1:${port}/${version}` });
